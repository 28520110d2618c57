package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/store/sqlite"
)

// size is how many there are of each. Every team is bound to one account;
// every person is in three teams.
type size struct {
	tokens, users, accounts, models, teams int
	callers                                int // tokens that are written to tokens.txt
}

func sizes() map[string]size {
	return map[string]size{
		"small":   {tokens: 200, users: 10, accounts: 1, models: 10, teams: 3, callers: 40},
		"million": {tokens: 1_000_000, users: 100_000, accounts: 100, models: 10_000, teams: 1_000, callers: 12_000},
	}
}

const (
	portion   = 20_000
	teamsEach = 3 // memberships of a person
	life      = 30 * 24 * time.Hour
)

func main() {
	dir := flag.String("dir", "", "folder in which small/ and million/ are made")
	baseURL := flag.String("upstream", "http://127.0.0.1:23400/v1", "base URL of every provider account")
	flag.Parse()
	for name, n := range sizes() {
		began := time.Now()
		f := &filler{size: n, dir: filepath.Join(*dir, name), baseURL: *baseURL}
		if err := f.fill(context.Background()); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		log.Printf("%s: %d tokens of %d people in %s", name, n.tokens, n.users, time.Since(began).Round(time.Second))
	}
}

// filler writes one installation.
type filler struct {
	size
	dir, baseURL string
	db           *sqlite.DB
	tokensFile   *bufio.Writer // TOKEN MODEL
}

func (f *filler) fill(ctx context.Context) (err error) {
	path := filepath.Join(f.dir, "gatehouse.db")
	if _, err := os.Stat(path); err == nil {
		log.Printf("%s is there already", path)
		return nil
	}
	if f.db, err = sqlite.Open(ctx, sqlite.Options{Path: path}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.db.Close()) }()
	file, err := os.OpenFile(filepath.Join(f.dir, "tokens.txt"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	f.tokensFile = bufio.NewWriter(file)
	defer func() { err = errors.Join(err, f.tokensFile.Flush(), file.Close()) }()
	if err := f.resources(ctx); err != nil {
		return err
	}
	if err := f.people(ctx); err != nil {
		return err
	}
	return f.tokenRows(ctx)
}

func userID(i int) string          { return fmt.Sprintf("0193f1a2-0000-7000-8000-%012d", i) }
func email(i int) string           { return fmt.Sprintf("person-%d@example.com", i) }
func team(i int) string            { return fmt.Sprintf("team-%d", i) }
func account(i int) string         { return fmt.Sprintf("account-%d", i) }
func model(i int) string           { return fmt.Sprintf("model-%d", i) }
func named(s string) v1.ObjectMeta { return v1.ObjectMeta{Name: s, Manager: v1.ManagerAPI} }

// mayUse is the account of a person's first team.
func (f *filler) mayUse(user int) int { return user % f.teams % f.accounts }

func (f *filler) resources(ctx context.Context) error {
	var list []v1.Resource
	each := f.models / f.accounts
	for i := range f.accounts {
		a := &v1.ProviderAccount{ObjectMeta: named(account(i)), Spec: v1.ProviderAccountSpec{
			Provider: v1.ProviderOpenAI, BaseURL: f.baseURL, AllowPrivateNetwork: true,
			Credentials: v1.ProviderCredentials{APIKey: &v1.SecretValue{Env: "UPSTREAM_KEY"}},
		}}
		for m := range each {
			spec := v1.Model{Name: model(m)}
			if m%10 == 9 { // every tenth model is for one team alone
				spec.Collaborators = []v1.Collaborator{{Subject: "team:" + team((i+m)%f.teams), Role: identity.RoleModelUser}}
			}
			a.Spec.Models = append(a.Spec.Models, spec)
		}
		list = append(list, a)
	}
	for i := range f.teams {
		list = append(list,
			&v1.Team{ObjectMeta: named(team(i)), Spec: v1.TeamSpec{Description: "One of many."}},
			&v1.RoleBinding{ObjectMeta: named(team(i) + "-uses"), Spec: v1.RoleBindingSpec{
				Subjects: v1.Strings{"team:" + team(i)}, Role: identity.RoleProviderAccountUser,
				Resources: v1.Strings{"provider-account:" + account(i%f.accounts)},
			}})
	}
	list = append(list, &v1.RoleBinding{ObjectMeta: named("admin"), Spec: v1.RoleBindingSpec{
		Subjects: v1.Strings{"user:" + email(0)}, Role: identity.RoleTenantAdmin, Resources: v1.Strings{"tenant"},
	}})
	kinds := map[string]v1.Kind{}
	for _, k := range v1.Kinds() {
		kinds[fmt.Sprintf("%T", v1.New(k))] = k
	}
	for _, r := range list {
		*r.Type() = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kinds[fmt.Sprintf("%T", r)]}
		r.Default()
		if errs := r.Validate(); len(errs) > 0 {
			return fmt.Errorf("%s: %w", r.Meta().Name, errs)
		}
	}
	_, err := f.db.Commit(ctx, &record.Batch{PutResources: list})
	return err
}

func (f *filler) people(ctx context.Context) error {
	for from := 0; from < f.users; from += portion {
		b := &record.Batch{}
		for i := from; i < min(from+portion, f.users); i++ {
			u := identity.User{
				UID: userID(i), Email: email(i), DisplayName: fmt.Sprintf("Person %d", i), Active: true,
				Identities: []identity.UserIdentity{{Issuer: "https://idp.example.com", Subject: userID(i)}},
			}
			for t := range min(teamsEach, f.teams) {
				u.Memberships = append(u.Memberships, identity.Membership{Team: team((i + t*37) % f.teams), Source: "scim"})
			}
			u.Memberships = distinct(u.Memberships)
			b.PutUsers = append(b.PutUsers, u)
		}
		if _, err := f.db.Commit(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func distinct(list []identity.Membership) []identity.Membership {
	seen := map[string]bool{}
	out := list[:0]
	for _, m := range list {
		if !seen[m.Team] {
			out = append(out, m)
		}
		seen[m.Team] = true
	}
	return out
}

// tokenRows gives every person the same number of tokens. The first are written
// to tokens.txt, each with a model that its owner may use.
func (f *filler) tokenRows(ctx context.Context) error {
	expires := time.Now().Add(life)
	for from := 0; from < f.tokens; from += portion {
		b := &record.Batch{}
		for i := from; i < min(from+portion, f.tokens); i++ {
			owner := i % f.users
			token := identity.NewToken(identity.TokenPersonal)
			b.PutTokens = append(b.PutTokens, identity.Token{
				Kind: identity.TokenPersonal, Name: "laptop", Digest: identity.DigestOf(token), Owner: userID(owner),
				CreatedBy: "user:" + email(owner), ExpiresAt: expires,
			})
			if i < f.callers {
				// A write that fails is reported by Flush.
				_, _ = fmt.Fprintf(f.tokensFile, "%s %s/%s\n", token, account(f.mayUse(owner)), model(i%9))
			}
		}
		if _, err := f.db.Commit(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
