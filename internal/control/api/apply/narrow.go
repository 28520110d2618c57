package apply

import (
	"strconv"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/snapshot"
)

// mayUnnarrow: a model with collaborators of its own is for them alone. To
// open it, also by way of another name or of the wildcard, is to give access.
func (p *plan) mayUnnarrow(it *item, a *v1.ProviderAccount) error {
	old, ok := it.old.(*v1.ProviderAccount)
	if !ok || !unnarrows(old, a) {
		return nil
	}
	t := p.target(old)
	if p.may(identity.PermAccountAccess, it.ref(), t) == nil {
		return nil
	}
	return p.may(identity.PermRoleBind, it.ref()+" gives up what keeps a model for its own collaborators, or opens one that had collaborators of its own", t)
}

// unnarrows reports whether the account would open a model that was for its
// own collaborators. An entry that narrows must stay as it is: were it only
// taken away, the next write could list the same model for everybody, and the
// wildcard would cover it at once. Nor may another entry, or one that takes a
// model out of a narrow wildcard, lead to it.
func unnarrows(old, new *v1.ProviderAccount) bool {
	next := map[string]*v1.Model{}
	for i := range new.Spec.Models {
		next[new.Spec.Models[i].Name] = &new.Spec.Models[i]
	}
	var ids, open, narrow []string
	wildcardNarrow := false
	for i := range old.Spec.Models {
		was := &old.Spec.Models[i]
		if is := next[was.Name]; was.Collaborators != nil && (is == nil || is.Collaborators == nil || is.Model != was.Model) {
			return true
		}
		switch {
		case was.Name == v1.WildcardModel:
			wildcardNarrow = was.Collaborators != nil
		case was.Collaborators != nil:
			ids, narrow = append(ids, was.Model), append(narrow, was.Model)
		default:
			ids, open = append(ids, was.Model), append(open, was.Model)
		}
	}
	if len(narrow) == 0 && !wildcardNarrow {
		return false
	}
	known, already, closed := modelsOf(ids), modelsOf(open), modelsOf(narrow)
	for i := range new.Spec.Models {
		m := &new.Spec.Models[i]
		if m.Name == v1.WildcardModel || m.Collaborators != nil {
			continue
		}
		if closed.has(m.Model) && !already.has(m.Model) || wildcardNarrow && !known.has(m.Model) {
			return true
		}
	}
	return false
}

// models are models of a provider, by their ids.
type models struct {
	exact         map[string]bool
	others, every *snapshot.Snapshot
}

const probe = "probe"

// modelsOf asks the snapshot which ids are other ways to write the same model,
// so that there is one reading of that: what a wildcard leaves out because the
// ids are listed.
func modelsOf(ids []string) models {
	m := models{exact: map[string]bool{}}
	listed := &v1.ProviderAccount{ObjectMeta: v1.ObjectMeta{Name: probe}}
	listed.Spec.Models = []v1.Model{{Name: v1.WildcardModel}}
	all := *listed
	for i, id := range ids {
		m.exact[id] = true
		// A name that nobody can ask for.
		listed.Spec.Models = append(listed.Spec.Models, v1.Model{Name: "\x00" + strconv.Itoa(i), Model: id})
	}
	m.others, m.every = compiled(listed), compiled(&all)
	return m
}

func (m *models) has(id string) bool {
	if m.exact[id] {
		return true
	}
	_, possible := m.every.Model(probe, id)
	_, left := m.others.Model(probe, id)
	return possible && !left
}

func compiled(a *v1.ProviderAccount) *snapshot.Snapshot {
	bare := *a
	bare.TypeMeta = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindProviderAccount}
	b := snapshot.NewBuilder(nil)
	b.Add(&identity.Rows{Resources: []v1.Resource{&bare}})
	return b.Build(identity.Head{})
}
