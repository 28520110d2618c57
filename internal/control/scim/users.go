package scim

import (
	"net/http"
	"strconv"

	"github.com/gatehouse-ai/gatehouse/internal/control/filter"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
)

// request is what a list or a search asks for (RFC 7644, 3.4.2).
type request struct {
	expr         filter.Expr // nil: everything
	start, count int
}

func (c *call) listRequest() (request, error) {
	return newRequest(c.query.Get("filter"), c.query.Get("startIndex"), c.query.Get("count"))
}

func newRequest(text, start, count string) (q request, err error) {
	q = request{start: 1, count: defaultPage}
	if text != "" {
		if q.expr, err = filter.ParseExpr(text); err != nil {
			return q, err
		}
	}
	if start != "" {
		if q.start, err = strconv.Atoi(start); err != nil {
			return q, bad(invalidValue, "startIndex must be a number")
		}
	}
	if count != "" {
		if q.count, err = strconv.Atoi(count); err != nil {
			return q, bad(invalidValue, "count must be a number")
		}
	}
	// Less than the least is the least (RFC 7644, table 6).
	q.start, q.count = max(q.start, 1), min(max(q.count, 0), maxPage)
	return q, nil
}

// searchRequest reads the body of .search, which says what a query would.
func (c *call) searchRequest() (request, error) {
	get := func(name string) string {
		v, _ := member(c.body, name)
		switch v := v.(type) {
		case string:
			return v
		case interface{ String() string }: // a number
			return v.String()
		}
		return ""
	}
	if list, _ := member(c.body, "schemas"); !names(list, urnSearch) {
		return request{}, bad(invalidSyntax, "schemas must name %s", urnSearch)
	}
	join := func(name string) (out string) {
		v, _ := member(c.body, name)
		for _, n := range values(v) {
			if s, ok := n.(string); ok {
				out += s + ","
			}
		}
		return out
	}
	var err error
	if c.view, err = readProjection(join("attributes"), join("excludedAttributes")); err != nil {
		return request{}, err
	}
	return newRequest(get("filter"), get("startIndex"), get("count"))
}

func names(list any, urn string) bool {
	for _, v := range values(list) {
		if s, ok := v.(string); ok && fold(s) == fold(urn) {
			return true
		}
	}
	return false
}

// page collects one page out of everything that matches.
type page struct {
	request
	total int
	items []any
}

// take counts a match, and says whether it is on the page.
func (p *page) take() bool {
	p.total++
	return p.total >= p.start && p.total-p.start < p.count
}

func (p *page) answer() *answer {
	if p.items == nil {
		p.items = []any{}
	}
	return &answer{status: http.StatusOK, body: map[string]any{
		"schemas": []string{urnList}, "totalResults": p.total, "startIndex": p.start, "itemsPerPage": len(p.items), "Resources": p.items,
	}}
}

func (c *call) listUsers() (*answer, error) {
	q, err := c.listRequest()
	if err != nil {
		return nil, err
	}
	return c.findUsers(q)
}

func (c *call) searchUsers() (*answer, error) {
	q, err := c.searchRequest()
	if err != nil {
		return nil, err
	}
	return c.findUsers(q)
}

func (c *call) findUsers(q request) (*answer, error) {
	p := &page{request: q}
	if q.expr == nil {
		if err := c.pageOfUsers(p); err != nil {
			return nil, err
		}
		return p.answer(), nil
	}
	err := c.filterUsers(p)
	return p.answer(), err
}

// pageOfUsers fills a page of everybody; its cost does not grow with the rest.
func (c *call) pageOfUsers(p *page) error {
	n, err := c.opt.People.CountUsersOf(c.ctx, c.manager)
	if err != nil {
		return err
	}
	first := p.start - p.total // p.total: what stands before, of another type
	p.total += n
	room := p.count - len(p.items)
	if room <= 0 || first > n {
		return nil
	}
	after, err := c.opt.People.UserBefore(c.ctx, c.manager, max(first, 1)-1)
	if err != nil {
		return err
	}
	list, err := c.opt.People.UsersOf(c.ctx, c.manager, after, room)
	for i := range list {
		if err == nil {
			err = c.addUser(p, &list[i])
		}
	}
	return err
}

func (c *call) addUser(p *page, u *identity.User) error {
	doc, err := c.userDoc(u)
	if err == nil {
		p.items = append(p.items, c.view.apply(c.user, doc))
	}
	return err
}

func (c *call) filterUsers(p *page) error {
	match, err := compile(c.user, p.expr)
	if err != nil {
		return err
	}
	named, indexed := lookups(c.user, p.expr, userIndexed)
	view := c.view
	needGroups := mentions(c.user, p.expr, "groups")
	return c.eachUser(named, indexed, func(u *identity.User) error {
		// What is matched is whole, what is shown is what was asked for.
		if needGroups {
			c.view = projection{}
		}
		doc, err := c.userDoc(u)
		c.view = view
		if err != nil || !match(doc) || !p.take() {
			return err
		}
		p.items = append(p.items, c.view.apply(c.user, doc))
		return nil
	})
}

// mentions says whether a filter looks at an attribute.
func mentions(t *resourceType, e filter.Expr, name string) bool {
	is := func(path string) bool {
		p, ok := t.resolve(path)
		return ok && p.attr != nil && p.attr.Name == name
	}
	switch e := e.(type) {
	case filter.And:
		return mentions(t, e.Left, name) || mentions(t, e.Right, name)
	case filter.Or:
		return mentions(t, e.Left, name) || mentions(t, e.Right, name)
	case filter.Not:
		return mentions(t, e.Inner, name)
	case filter.Compare:
		return is(e.Path)
	case filter.ValuePath:
		return is(e.Path)
	default:
		return false
	}
}

func (c *call) getUser(id string) (*answer, error) {
	u, err := c.mine(c.ctx, id)
	if err != nil {
		return nil, err
	}
	version := versionOf(&u)
	if ans, ok := c.fresh(version); ok {
		return ans, nil
	}
	doc, err := c.userDoc(&u)
	if err != nil {
		return nil, err
	}
	return c.show(http.StatusOK, c.user, doc, version), nil
}
