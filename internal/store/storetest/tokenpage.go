package storetest

import (
	"fmt"
	"testing"

	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/record"
)

func tokenPageTests() map[string]func(*testing.T, *fixture) {
	return map[string]func(*testing.T, *fixture){
		"TestTokensAreListedByPages": tokensByPages,
	}
}

func tokensByPages(t *testing.T, f *fixture) {
	b := &record.Batch{}
	for i := range 7 {
		b.PutTokens = append(b.PutTokens, token(fmt.Sprintf("t-%d", i), "u-1"), token(fmt.Sprintf("s-%d", i), "u-2"))
	}
	f.commit(b)
	f.commit(&record.Batch{RevokeTokens: []string{"t-3"}})
	all, err := f.Tokens(t.Context(), "u-1")
	if err != nil {
		t.Fatal(err)
	}
	var got []identity.Token
	sizes, after := "", ""
	for {
		page, err := f.TokenPage(t.Context(), "u-1", after, 3)
		if err != nil {
			t.Fatal(err)
		}
		sizes += fmt.Sprint(len(page), " ")
		if len(page) == 0 {
			break
		}
		got, after = append(got, page...), page[len(page)-1].ID
	}
	if sizes != "3 3 1 0 " {
		t.Errorf("pages of %s", sizes)
	}
	wantSame(t, "all pages", got, all)
	if whole, err := f.TokenPage(t.Context(), "u-1", "", 0); err != nil || len(whole) != 7 {
		t.Errorf("%d without a limit, %v", len(whole), err)
	}
}
