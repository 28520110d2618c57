package scim_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestASyncFromEmptyComesToItsEnd creates people and groups one by one, as
// directories do, on the real store with its files synced to disk, and says how
// long that took. SCIM_SYNC_USERS sets how many people; a group has twenty. What
// ten thousand may take is asserted over HTTP, in internal/testkit/e2e.
func TestASyncFromEmptyComesToItsEnd(t *testing.T) {
	people := 200
	if s := os.Getenv("SCIM_SYNC_USERS"); s != "" {
		var err error
		if people, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	w := worldOn(t, openDatabase(t))
	start := time.Now()
	ids := make([]string, people)
	for i := range ids {
		name := fmt.Sprintf("person%05d@example.com", i)
		w.do("GET", "/Users?filter=userName%20eq%20%22"+name+"%22", "").want(200).is("totalResults", 0)
		ids[i] = w.do("POST", "/Users", `{`+userSchema+`,"userName":"`+name+`","externalId":"x`+name+`","name":{"givenName":"A","familyName":"B"},
			"emails":[{"value":"`+name+`","primary":true,"type":"work"}],"`+enterprise+`":{"department":"D"}}`).want(201).id()
	}
	users := time.Since(start)
	for g := range people / 20 {
		var list []string
		for i := range 20 {
			list = append(list, `{"value":"`+ids[(g*20+i)%people]+`"}`)
		}
		name := fmt.Sprintf("Group %d", g)
		w.do("GET", "/Groups?excludedAttributes=members&filter=displayName%20eq%20%22"+strings.ReplaceAll(name, " ", "%20")+"%22", "").want(200)
		id := w.do("POST", "/Groups", `{`+groupSchema+`,"displayName":"`+name+`","externalId":"`+name+`"}`).want(201).id()
		w.do("PATCH", "/Groups/"+id, patch(`{"op":"Add","path":"members","value":[`+strings.Join(list, ",")+`]}`)).want(204)
	}
	total := time.Since(start)
	t.Logf("%d people in %s, with %d groups of 20 in %s", people, users, people/20, total)
	w.do("GET", "/Users?count=1", "").want(200).is("totalResults", people)
	w.do("GET", "/Groups?count=1", "").want(200).is("totalResults", people/20)
}
