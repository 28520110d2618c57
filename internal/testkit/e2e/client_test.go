package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/client"
	"github.com/gatehouse-ai/gatehouse/internal/auditchain"
	"github.com/gatehouse-ai/gatehouse/internal/testkit"
)

// program is a Go program that uses the public client on a real server, as the
// administrator of gatehouse dev.
type program struct {
	*client.Client
	t    *testing.T
	g    *testkit.Gatehouse
	wire *overhearing
	api  described
	// called are the methods that were held.
	called map[string]bool
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{t: t, g: testkit.Start(t, testkit.Options{Dev: true}), wire: &overhearing{}, called: map[string]bool{}}
	var err error
	p.Client, err = client.New(p.g.URL(), client.Options{
		HTTPClient:  &http.Client{Transport: p.wire, Timeout: time.Minute},
		TokenSource: func(context.Context) (string, error) { return p.g.DevToken(t, "admin@example.com"), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.g.Do(t, testkit.Request{Path: "/api/v1/openapi.json", Token: p.g.DevToken(t, "admin@example.com")}).JSON(t, &p.api)
	return p
}

// call holds what a method came to, nil for one that returns nothing, to what
// the server answered.
func call[T any](p *program, method string, got T, err error) T {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
	p.called[method] = true
	p.api.hold(p.t, p.wire.last, got)
	return got
}

// done is a call of a method that returns nothing.
func (p *program) done(method string, err error) {
	p.t.Helper()
	call[any](p, method, nil, err)
}

func TestTheClientSaysAllThatTheControlAPISays(t *testing.T) {
	p := newProgram(t)
	me, err := p.Me(t.Context())
	if me = call(p, "Me", me, err); me.Email != "admin@example.com" || !me.Admin {
		t.Errorf("%+v", me)
	}
	p.resources()
	p.ownTokens()
	p.accountTokens()
	p.people()
	p.access()
	p.audit()
	p.api.holdAll(t)
	p.api.same(t, "a refusal", p.api.Components.Schemas["Problem"], reflect.TypeFor[client.Problem]())
	methods := map[string]bool{}
	for m := range reflect.TypeFor[*client.Client]().Methods() {
		methods[m.Name] = true
	}
	sameNames(t, "the client, as far as it is held here,", p.called, methods)
}

const aTeam = `{"apiVersion":"gatehouse.dev/v1","kind":"Team","metadata":{"name":"held"},"spec":{"displayName":"Held","members":["admin@example.com"]}}`

func (p *program) resources() {
	ctx, t := p.t.Context(), p.t
	set := client.ApplyOptions{Manager: "held", DryRun: true, Prune: true, TakeOver: true}
	planned, err := p.Apply(ctx, []json.RawMessage{json.RawMessage(aTeam)}, set)
	planned = call(p, "Apply", planned, err)
	if !planned.DryRun || len(planned.Results) != 1 || planned.Results[0].Action != "created" || planned.Results[0].Diff == "" {
		t.Errorf("%+v", planned)
	}
	tried, err := p.ApplyYAML(ctx, []byte(aTeam), set)
	call(p, "ApplyYAML", tried, err)
	set.DryRun = false
	applied, err := p.ApplyYAML(ctx, []byte(aTeam+"\n---\n{apiVersion: gatehouse.dev/v1, kind: VirtualAccount, metadata: {name: bot}, spec: {}}"), set)
	if applied = call(p, "ApplyYAML", applied, err); applied.DryRun || len(applied.Results) != 2 {
		t.Errorf("%+v", applied)
	}
	read, err := p.Get(ctx, v1.KindTeam, "held")
	read = call(p, "Get", read, err)
	changed := strings.Replace(aTeam, `"Held"`, `"Written"`, 1)
	written, err := p.Put(ctx, v1.KindTeam, "held", json.RawMessage(changed), client.PutOptions{IfMatch: read.Meta().ResourceVersion, TakeOver: true})
	if written = call(p, "Put", written, err); written.(*v1.Team).Spec.DisplayName != "Written" || written.Meta().ResourceVersion == read.Meta().ResourceVersion {
		t.Errorf("%+v", written)
	}
	if _, err := p.Put(ctx, v1.KindTeam, "held", json.RawMessage(changed), client.PutOptions{Create: true}); !client.IsCode(err, "precondition_failed") {
		t.Errorf("made a second time: %v", err)
	}
	page, err := p.ListPage(ctx, v1.KindTeam, client.ListOptions{Limit: 1, Filter: `metadata.name sw "he"`})
	if page == nil || page.Total != 1 || page.NextCursor != "" {
		t.Fatalf("%+v %v", page, err)
	}
	call(p, "ListPage", page.Items, err)
	list, err := p.List(ctx, v1.KindTeam, "")
	if list = call(p, "List", list, err); len(list) != 2 {
		t.Errorf("%d teams", len(list))
	}
	p.export()
	p.done("Delete", p.Delete(ctx, v1.KindTeam, "held", client.DeleteOptions{IfMatch: written.Meta().ResourceVersion, TakeOver: true}))
}

// export holds Export, which is many lists, to its promise: all of it can be
// applied, and changes nothing.
func (p *program) export() {
	ctx, t := p.t.Context(), p.t
	all, err := p.Export(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var documents []json.RawMessage
	for _, r := range all {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, b)
	}
	again, err := p.Apply(ctx, documents, client.ApplyOptions{DryRun: true, TakeOver: true})
	if err != nil || len(again.Results) < 6 {
		t.Fatalf("%+v %v", again, err)
	}
	for _, r := range again.Results {
		if r.Diff != "" {
			t.Errorf("what was exported changes %s %s:\n%s", r.Kind, r.Name, r.Diff)
		}
	}
	p.called["Export"] = true
}

func (p *program) ownTokens() {
	ctx, t := p.t.Context(), p.t
	until := time.Now().Add(time.Hour)
	made, err := p.CreateMyToken(ctx, client.TokenRequest{Name: "mine", ExpiresIn: "30d", Narrowing: &client.Narrowing{
		Models: []string{"echo/small"}, MCPServers: []string{}, Agents: []string{"a"}, CIDR: []string{"127.0.0.0/8"}, NotAfter: &until,
	}})
	made = call(p, "CreateMyToken", made, err)
	for _, model := range []string{"echo/small", "echo/large"} { // leaves records for the logs
		if res := p.g.Chat(t, made.Secret.Reveal(), model); (res.Status == http.StatusOK) != (model == "echo/small") {
			t.Errorf("the narrowed token at %s: %d %s", model, res.Status, res.Body)
		}
	}
	p.done("RevokeMyToken", p.RevokeMyToken(ctx, made.ID))
	if _, err := p.CreateMyToken(ctx, client.TokenRequest{Name: "another"}); err != nil {
		t.Fatal(err)
	}
	list, err := p.MyTokens(ctx)
	if list = call(p, "MyTokens", list, err); len(list) != 2 || list[0].ID != made.ID || list[0].RevokedAt == nil || list[1].RevokedAt != nil {
		t.Errorf("%+v", list)
	}
	p.done("RevokeMyTokens", p.RevokeMyTokens(ctx))
	if list, err := p.MyTokens(ctx); err != nil || list[1].RevokedAt == nil {
		t.Errorf("%+v %v", list, err)
	}
}

func (p *program) accountTokens() {
	ctx, t := p.t.Context(), p.t
	made, err := p.CreateVirtualAccountToken(ctx, "bot", client.TokenRequest{Name: "bot's", ExpiresIn: "1d", Narrowing: &client.Narrowing{}})
	made = call(p, "CreateVirtualAccountToken", made, err)
	list, err := p.VirtualAccountTokens(ctx, "bot")
	if list = call(p, "VirtualAccountTokens", list, err); len(list) != 1 || list[0].ID != made.ID || list[0].Kind != "virtual-account-token" {
		t.Errorf("%+v", list)
	}
	p.done("RevokeVirtualAccountToken", p.RevokeVirtualAccountToken(ctx, "bot", made.ID))
}

func (p *program) people() {
	ctx, t := p.t.Context(), p.t
	name, full, active := "eve", "Eve", true
	made, err := p.PutUser(ctx, "eve@example.com", client.UserWrite{UserName: &name, DisplayName: &full, Active: &active}, client.UserOptions{Create: true})
	made = call(p, "PutUser", made, err)
	if _, err := p.PutUser(ctx, "eve@example.com", client.UserWrite{}, client.UserOptions{Create: true}); !client.IsCode(err, "precondition_failed") {
		t.Errorf("made a second time: %v", err)
	}
	full = "Eve Example"
	if _, err := p.PutUser(ctx, made.Email, client.UserWrite{DisplayName: &full}, client.UserOptions{Version: made.Version}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.PutUser(ctx, made.Email, client.UserWrite{DisplayName: &full}, client.UserOptions{Version: made.Version}); !client.IsCode(err, "precondition_failed") {
		t.Errorf("written at an old version: %v", err)
	}
	admin, err := p.User(ctx, "admin@example.com")
	if admin = call(p, "User", admin, err); len(admin.Identities) != 1 {
		t.Errorf("%+v", admin)
	}
	list, err := p.Users(ctx, `userName eq "eve"`)
	if list = call(p, "Users", list, err); len(list) != 1 || list[0].DisplayName != full || list[0].UID != made.UID {
		t.Errorf("%+v", list)
	}
	tokens, err := p.UserTokens(ctx, admin.UID)
	if tokens = call(p, "UserTokens", tokens, err); len(tokens) != 2 || tokens[0].Name != "mine" {
		t.Errorf("%+v", tokens)
	}
	p.done("RevokeUserToken", p.RevokeUserToken(ctx, admin.Email, tokens[1].ID))
	p.done("RevokeUserTokens", p.RevokeUserTokens(ctx, made.Email))
	p.unlink("member@example.com")
	p.done("DeleteUser", p.DeleteUser(ctx, made.UID))
	if _, err := p.User(ctx, made.UID); !client.IsCode(err, "not_found") {
		t.Errorf("after being removed: %v", err)
	}
}

// unlink lets somebody arrive, and has forgotten how they were named.
func (p *program) unlink(email string) {
	ctx, t := p.t.Context(), p.t
	if res := p.g.Do(t, testkit.Request{Path: "/api/v1/me", Token: p.g.DevToken(t, email)}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	before, err := p.User(ctx, email)
	if err != nil || len(before.Identities) != 1 {
		t.Fatalf("%+v %v", before, err)
	}
	p.done("UnlinkUser", p.UnlinkUser(ctx, email, before.Identities[0].Issuer))
	if after, err := p.User(ctx, email); err != nil || len(after.Identities) != 0 {
		t.Errorf("%+v %v", after, err)
	}
}

func (p *program) access() {
	ctx, t := p.t.Context(), p.t
	token, err := p.CreateMyToken(ctx, client.TokenRequest{Name: "asked about"})
	if err != nil {
		t.Fatal(err)
	}
	why, err := p.Explain(ctx, client.Question{Token: token.Secret.Reveal(), Model: "echo/small", Action: "model:use"})
	if why = call(p, "Explain", why, err); !why.Allowed || len(why.Steps) == 0 {
		t.Errorf("%+v", why)
	}
	why, err = p.Explain(ctx, client.Question{As: "virtual-account:bot", Resource: "provider-account:echo", Action: "provider-account:update"})
	if why = call(p, "Explain", why, err); why.Allowed || why.Reason == "" {
		t.Errorf("%+v", why)
	}
	link, err := p.CreateTestSignIn(ctx, "dev")
	if link = call(p, "CreateTestSignIn", link, err); !strings.HasPrefix(link.URL, "http") || link.ExpiresAt.Before(time.Now()) {
		t.Errorf("%+v", link)
	}
	eventually(t, 10*time.Second, "both calls are in the logs", func() bool {
		records, err := p.Logs(ctx, true, 2)
		if err != nil {
			t.Fatal(err)
		}
		return len(records) == 2
	})
	records, err := p.Logs(ctx, false, 10)
	records = call(p, "Logs", records, err)
	if codes := []string{records[0].Code, records[1].Code}; !slices.Equal(codes, []string{"model_not_permitted", ""}) || records[1].Email != "admin@example.com" {
		t.Errorf("%+v", records)
	}
	records, err = p.Logs(ctx, true, 1)
	call(p, "Logs", records, err)
}

func (p *program) audit() {
	ctx, t := p.t.Context(), p.t
	ask := client.AuditOptions{
		Actor: "user:admin@example.com", Target: "user:eve@example.com", Action: "user.*", Outcome: "done",
		Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour), Limit: 2,
	}
	var actions []string
	for {
		entries, next, err := p.Audit(ctx, ask)
		for _, e := range call(p, "Audit", entries, err) {
			actions = append(actions, e.Action)
		}
		if ask.Cursor = next; next == "" {
			break
		}
	}
	if want := []string{"user.delete", "user.update", "user.create"}; !slices.Equal(actions, want) {
		t.Errorf("%v, want %v", actions, want)
	}
	export, err := p.ExportAudit(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(export)
	if err := export.Close(); err != nil {
		t.Error(err)
	}
	x := p.wire.last
	if err != nil || !bytes.Equal(text, x.answer) {
		t.Errorf("%v, %d bytes of %d", err, len(text), len(x.answer))
	}
	if report, err := auditchain.Verify(bytes.NewReader(text), auditchain.Options{Whole: true}); err != nil || report.Entries < 10 {
		t.Errorf("%+v %v", report, err)
	}
	op := p.api.operation(x.method, x.path)
	p.api.holdRequest(t, op, &x)
	if forms := slices.Collect(maps.Keys(op.Responses["200"].Content)); !slices.Equal(forms, []string{x.answerForm}) {
		t.Errorf("the export is %s, and described as %v", x.answerForm, forms)
	}
	p.called["ExportAudit"] = true
}
