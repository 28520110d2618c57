package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/control/api/apply"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

// Token is a token as it is shown: everything but itself.
type Token struct {
	ID string `json:"id"`
	// Kind is personal-access-token or virtual-account-token.
	Kind         string              `json:"kind"`
	Name         string              `json:"name"`
	CreatedAt    time.Time           `json:"createdAt"`
	ExpiresAt    time.Time           `json:"expiresAt"`
	RevokedAt    *time.Time          `json:"revokedAt,omitempty"`
	LastUsedAt   *time.Time          `json:"lastUsedAt,omitempty"`
	LastUsedFrom string              `json:"lastUsedFrom,omitempty"`
	CreatedBy    string              `json:"createdBy,omitempty"`
	Narrowing    *identity.Narrowing `json:"narrowing,omitempty"`
}

// NewToken is a token that was just made. It is never shown again.
type NewToken struct {
	Token
	Secret string `json:"token"`
}

// TokenList is one page of somebody's tokens, the newest last.
type TokenList struct {
	Items      []Token `json:"items"`
	NextCursor string  `json:"nextCursor,omitempty"`
}

// TokenWrite asks for a token.
type TokenWrite struct {
	// Name is for people.
	Name string `json:"name"`
	// ExpiresIn is a length of time such as 90d. Default: 90d or the longest
	// that is allowed; for a virtual account its token.expiresAfter.
	ExpiresIn v1.Duration `json:"expiresIn,omitempty"`
	// Narrowing makes the token weaker than its owner. A list that is left out
	// is no limit, an empty one permits nothing.
	Narrowing json.RawMessage `json:"narrowing,omitempty"`
}

func (a *API) tokenOperations() []operation {
	return slices.Concat(myTokenOperations(), userTokenOperations(), accountTokenOperations())
}

func myTokenOperations() []operation {
	const mine = base + "/me/tokens"
	return []operation{
		{
			ID: "list-my-tokens", Method: http.MethodGet, Path: mine, Summary: "List my personal access tokens", Permission: authenticated, On: onSelf,
			AuditAction: notAudited, Query: paging(), Answer: TokenList{}, Status: http.StatusOK, run: (*call).myTokens,
		},
		{
			ID: "create-my-token", Method: http.MethodPost, Path: mine, Summary: "Make a personal access token", Permission: identity.PermTokenCreateOwn, On: onTenant,
			AuditAction: "token.create", Body: TokenWrite{}, Answer: NewToken{}, Status: http.StatusCreated, run: (*call).createMyToken,
		},
		{
			ID: "revoke-my-tokens", Method: http.MethodDelete, Path: mine, Summary: "Revoke all my personal access tokens", Permission: authenticated, On: onSelf,
			AuditAction: "token.revoke", Status: http.StatusNoContent, run: (*call).revokeMyTokens,
		},
		{
			ID: "revoke-my-token", Method: http.MethodDelete, Path: mine + "/{id}", Summary: "Revoke one of my personal access tokens", Permission: authenticated, On: onSelf,
			AuditAction: "token.revoke", Status: http.StatusNoContent, run: (*call).revokeMyToken,
		},
	}
}

func userTokenOperations() []operation {
	const users = base + "/users/{user}/tokens"
	return []operation{
		{
			ID: "list-user-tokens", Method: http.MethodGet, Path: users, Summary: "List a person's tokens", Permission: identity.PermTokenReadAll, On: onTenant,
			AuditAction: notAudited, Query: paging(), Answer: TokenList{}, Status: http.StatusOK, run: (*call).userTokens,
		},
		{
			ID: "revoke-user-tokens", Method: http.MethodDelete, Path: users, Summary: "Revoke all of a person's tokens", Permission: identity.PermTokenRevokeAll, On: onTenant,
			AuditAction: "token.revoke", Status: http.StatusNoContent, run: (*call).revokeUserTokens,
		},
		{
			ID: "revoke-user-token", Method: http.MethodDelete, Path: users + "/{id}", Summary: "Revoke one of a person's tokens", Permission: identity.PermTokenRevokeAll, On: onTenant,
			AuditAction: "token.revoke", Status: http.StatusNoContent, run: (*call).revokeUserToken,
		},
	}
}

func accountTokenOperations() []operation {
	const account = base + "/virtual-accounts/{name}/tokens"
	const vat = identity.PermVirtualAccountTokens
	return []operation{
		{
			ID: "list-virtual-account-tokens", Method: http.MethodGet, Path: account, Summary: "List a virtual account's tokens", Permission: vat, On: onResource,
			AuditAction: notAudited, Query: paging(), Answer: TokenList{}, Status: http.StatusOK, run: (*call).accountTokens,
		},
		{
			ID: "create-virtual-account-token", Method: http.MethodPost, Path: account, Summary: "Make a virtual account's token", Permission: vat, On: onResource,
			AuditAction: "token.create", Body: TokenWrite{}, Answer: NewToken{}, Status: http.StatusCreated, run: (*call).createAccountToken,
		},
		{
			ID: "revoke-virtual-account-token", Method: http.MethodDelete, Path: account + "/{id}", Summary: "Revoke one of a virtual account's tokens", Permission: vat, On: onResource,
			AuditAction: "token.revoke", Status: http.StatusNoContent, run: (*call).revokeAccountToken,
		},
	}
}

func shown(t *identity.Token) Token {
	return Token{
		ID: t.ID, Kind: t.Kind.String(), Name: t.Name, CreatedAt: t.CreatedAt, ExpiresAt: t.ExpiresAt, RevokedAt: t.RevokedAt,
		LastUsedAt: t.LastUsedAt, LastUsedFrom: t.LastUsedFrom, CreatedBy: t.CreatedBy, Narrowing: t.Narrowing,
	}
}

// me refuses callers who have no tokens of their own, and narrowed tokens,
// which manage nothing.
func (c *call) me() (uid string, err error) {
	p := c.caller.Principal
	c.about = c.self()
	if p.Kind != identity.KindUser || p.UID == "" {
		return "", identity.Errorf(identity.CodePermissionDenied, "only a user has personal access tokens")
	}
	if c.caller.Grant.Narrowing != nil {
		return "", identity.Errorf(identity.CodePermissionDenied, "a narrowed token mints no tokens and manages nothing")
	}
	return p.UID, nil
}

// tokens is a page of an owner's tokens, in the order of their ids, which is
// that of their making.
func (c *call) tokens(owner string) (*answer, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	context := "tokens\x00" + owner
	after, err := c.after(context)
	if err != nil {
		return nil, err
	}
	// One more than is shown tells whether there are more.
	list, err := c.opt.Tokens.TokenPage(c.r.Context(), owner, after, limit+1)
	if err != nil {
		return nil, err
	}
	page := TokenList{Items: []Token{}}
	for i := range list[:min(limit, len(list))] {
		page.Items = append(page.Items, shown(&list[i]))
	}
	if len(list) > limit {
		page.NextCursor, err = c.cursor(context, list[limit-1].ID)
	}
	return &answer{body: page}, err
}

func (c *call) myTokens() (*answer, error) {
	uid, err := c.me()
	if err != nil {
		return nil, err
	}
	return c.tokens(uid)
}

func (c *call) createMyToken() (*answer, error) {
	uid, err := c.me()
	if err != nil {
		return nil, err
	}
	if identity.ReservedEmail(c.caller.Principal.Email) {
		return nil, identity.Errorf(identity.CodePermissionDenied, "the local administrator has no tokens: they would outlast the emergency")
	}
	longest := c.snap.Settings().PersonalAccessTokenMaxAge.Std()
	t, err := c.newToken(identity.TokenPersonal, min(90*24*time.Hour, longest), longest)
	if err != nil {
		return nil, err
	}
	t.Owner = uid
	return c.mint(t, nil)
}

// newToken reads what is asked for.
func (c *call) newToken(kind identity.TokenKind, usual, longest time.Duration) (*identity.Token, error) {
	var body TokenWrite
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	life, err := body.ExpiresIn.Parse()
	switch {
	case err != nil:
		return nil, identity.Errorf(identity.CodeInvalidRequest, "expiresIn: %v", err)
	case body.ExpiresIn == "":
		life = usual
	case life < time.Minute:
		return nil, identity.Errorf(identity.CodeInvalidRequest, "expiresIn must be a minute at least")
	}
	if life > longest {
		// Right in itself: the tenant's settings are against it.
		return nil, identity.Errorf(identity.CodeConflict, "expiresIn must be at most %s here", v1.DurationOf(longest))
	}
	if err := printable("name", body.Name); err != nil {
		return nil, err
	}
	if body.Name = strings.TrimSpace(body.Name); body.Name == "" || utf8.RuneCountInString(body.Name) > 128 {
		return nil, identity.Errorf(identity.CodeInvalidRequest, "name must have 1 to 128 characters")
	}
	t := &identity.Token{Kind: kind, Name: body.Name, ExpiresAt: c.now.Add(life).UTC(), CreatedBy: string(c.caller.Principal.Kind) + ":" + c.caller.Principal.Name}
	t.Narrowing, err = c.narrowing(body.Narrowing)
	return t, err
}

// mint makes the token. It leaves in this answer and is nowhere else.
func (c *call) mint(t *identity.Token, conditions []record.Condition) (*answer, error) {
	plain := identity.NewToken(t.Kind)
	t.ID, t.Digest, t.CreatedAt = newRequestID(nil), identity.DigestOf(plain), c.now.UTC()
	e := c.entry("token.create", c.about, apply.OutcomeDone)
	e.After = asJSON(shown(t))
	b := &record.Batch{Conditions: conditions, PutTokens: []identity.Token{*t}, Audit: []record.AuditEntry{e}}
	err := c.commit(b)
	if identity.IsCode(err, identity.CodePreconditionFailed) {
		return nil, identity.Wrap(identity.CodeConflict, err, "the account was changed a moment ago; try again")
	}
	if err != nil {
		return nil, err
	}
	return &answer{body: NewToken{Token: shown(&b.PutTokens[0]), Secret: plain}}, nil
}

// revokeAll ends all tokens of one owner.
func (c *call) revokeAll(owner string) error {
	list, err := c.opt.Tokens.Tokens(c.r.Context(), owner)
	if err != nil {
		return err
	}
	return c.revoke(slices.DeleteFunc(list, func(t identity.Token) bool { return t.RevokedAt != nil }))
}

// revokeOne ends the token of the path. A token of somebody else is not there;
// one that is revoked is as it was to become.
func (c *call) revokeOne(owner string) error {
	absent := identity.Errorf(identity.CodeNotFound, "there is no such token")
	id := c.r.PathValue("id")
	if !utf8.ValidString(id) {
		return absent // a database may refuse to look for it
	}
	t, err := c.opt.Tokens.Token(c.r.Context(), id)
	switch {
	case identity.CodeOf(err) == identity.CodeNotFound, err == nil && t.Owner != owner:
		return absent
	case err != nil || t.RevokedAt != nil:
		return err
	}
	return c.revoke([]identity.Token{t})
}

func (c *call) revoke(list []identity.Token) error {
	if len(list) == 0 {
		return nil
	}
	b := &record.Batch{}
	for i := range list {
		e := c.entry("token.revoke", c.about, apply.OutcomeDone)
		e.Before = asJSON(shown(&list[i]))
		b.RevokeTokens, b.Audit = append(b.RevokeTokens, list[i].ID), append(b.Audit, e)
	}
	return c.commit(b)
}

func (c *call) revokeMyTokens() (*answer, error) {
	uid, err := c.me()
	if err != nil {
		return nil, err
	}
	return nil, c.revokeAll(uid)
}

func (c *call) revokeMyToken() (*answer, error) {
	uid, err := c.me()
	if err != nil {
		return nil, err
	}
	return nil, c.revokeOne(uid)
}

func (c *call) userTokens() (*answer, error) {
	u, err := c.user(identity.PermTokenReadAll)
	if err != nil {
		return nil, err
	}
	return c.tokens(u.UID)
}

func (c *call) revokeUserTokens() (*answer, error) {
	u, err := c.user(identity.PermTokenRevokeAll)
	if err != nil {
		return nil, err
	}
	return nil, c.revokeAll(u.UID)
}

func (c *call) revokeUserToken() (*answer, error) {
	u, err := c.user(identity.PermTokenRevokeAll)
	if err != nil {
		return nil, err
	}
	return nil, c.revokeOne(u.UID)
}

// account finds the virtual account of the path and asks for its tokens.
func (c *call) account() (*v1.VirtualAccount, error) {
	key := c.key(v1.KindVirtualAccount)
	hidden := identity.Errorf(identity.CodeNotFound, "there is no %s that you may see", c.about)
	r, err := c.opt.Resources.Resource(c.r.Context(), key)
	if identity.IsCode(err, identity.CodeNotFound) {
		return nil, apply.Hide(c.may(identity.PermVirtualAccountTokens, c.snap.Target(identity.KindRef(key.Kind, key.Name))), hidden, false)
	}
	if err != nil {
		return nil, err
	}
	v, ok := r.(*v1.VirtualAccount)
	if !ok {
		return nil, fmt.Errorf("%s is stored as a %T", c.about, r)
	}
	if err := c.may(identity.PermVirtualAccountTokens, apply.Target(c.snap, v)); err != nil {
		if !c.mayRead(v) {
			return nil, apply.Hide(err, hidden, true)
		}
		return nil, err
	}
	return v, nil
}

func (c *call) accountTokens() (*answer, error) {
	v, err := c.account()
	if err != nil {
		return nil, err
	}
	return c.tokens(v.UID)
}

// longestAccountToken is the longest life of a virtual account's token.
const longestAccountToken = 3650 * 24 * time.Hour

func (c *call) createAccountToken() (*answer, error) {
	v, err := c.account()
	if err != nil {
		return nil, err
	}
	if err := c.applier.MayManage(c.actor(apply.ManagerAPI), identity.VirtualAccountSubject(v.Name), identity.KindRef(v1.KindVirtualAccount, v.Name)); err != nil {
		return nil, err
	}
	t, err := c.newToken(identity.TokenVirtualAccount, v.Spec.Token.ExpiresAfter.Std(), longestAccountToken)
	if err != nil {
		return nil, err
	}
	t.Owner = v.UID
	// The account must still be the one that was asked about: its team decides
	// who may do this.
	return c.mint(t, []record.Condition{{Key: identity.ResourceKey{Kind: v1.KindVirtualAccount, Name: v.Name}, ResourceVersion: v.ResourceVersion}})
}

func (c *call) revokeAccountToken() (*answer, error) {
	v, err := c.account()
	if err != nil {
		return nil, err
	}
	return nil, c.revokeOne(v.UID)
}

// asJSON is for the audit; nothing that goes there can fail to be written.
func asJSON(v any) json.RawMessage {
	j, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage(`"cannot be shown"`)
	}
	return j
}
