package apply

import (
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/google/uuid"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
	"github.com/gatehouse-ai/gatehouse/internal/identity"
	"github.com/gatehouse-ai/gatehouse/internal/manifest"
	"github.com/gatehouse-ai/gatehouse/internal/record"
	"github.com/gatehouse-ai/gatehouse/internal/seal"
)

// secrets gives a document its uid, to which sealed values are bound, and puts
// {stored: true, digest: …} in the place of every value.
func (p *plan) secrets(it *item) error {
	m := it.new().Meta()
	if it.old != nil {
		m.UID = it.old.Meta().UID
	} else {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		m.UID = id.String()
	}
	had := map[string]v1.SecretField{}
	if it.old != nil {
		for _, f := range it.old.Secrets() {
			had[f.Path] = f
		}
	}
	for _, f := range it.new().Secrets() {
		old, ok := had[f.Path]
		if err := p.secret(it, f, old, ok); err != nil {
			return err
		}
	}
	if ca := caFile(it.new()); ca != "" {
		return p.hostReference(it, "spec.caCert.file", v1.SecretValue{File: ca})
	}
	return nil
}

// caFile is a file of the host that is not a secret, but is read like one.
func caFile(r v1.Resource) string {
	var ca *v1.CACert
	switch r := r.(type) {
	case *v1.IdentityProvider:
		ca = r.Spec.CACert
	case *v1.ProviderAccount:
		ca = r.Spec.CACert
	}
	if ca == nil {
		return ""
	}
	return ca.File
}

func (p *plan) secret(it *item, f, old v1.SecretField, existed bool) error {
	v := f.Value
	refused := func(message string) error {
		return conflicting(it.doc.Locate(v1.FieldErrors{{Path: f.Path, Message: message}}))
	}
	switch {
	case v.Value != "":
		return p.sealValue(it, f, old, existed)
	case v.Stored:
		switch {
		case !existed || !old.Value.Stored:
			return refused("nothing is stored here; send the secret")
		case v.Digest == "" || v.Digest != old.Value.Digest:
			return refused("this is not the digest of what is stored; send back what you have read, or the secret")
		case f.Destination != old.Destination:
			return refused("the place where the secret is sent has changed, and a stored secret does not follow; send the secret again")
		}
		return nil
	case v.Store != "":
		if existed && *old.Value == *v && old.Destination == f.Destination {
			return nil
		}
		return p.storeReference(it, f)
	default:
		return p.hostReference(it, f.Path, *v)
	}
}

// sealValue keeps what is stored where the same value is sent again, so that
// applying twice changes nothing.
func (p *plan) sealValue(it *item, f, old v1.SecretField, existed bool) error {
	plain := f.Value.Value.Reveal()
	if plain == f.Value.Value.String() {
		return invalid(it.doc.Locate(v1.FieldErrors{{Path: f.Path, Message: "this is what a hidden secret looks like; send the secret itself"}}))
	}
	ad := seal.AssociatedData(it.new().Meta().UID, f.Path)
	digest := p.opt.Sealer.Digest(plain, ad)
	*f.Value = v1.SecretValue{Stored: true, Digest: digest}
	if p.dryRun || existed && old.Value.Stored && old.Value.Digest == digest {
		return nil
	}
	sealed, err := p.opt.Sealer.Seal([]byte(plain), ad)
	if err != nil {
		return err
	}
	p.batch.Secrets = append(p.batch.Secrets, record.SealedSecret{Key: it.key, Path: f.Path, Digest: digest, Sealed: sealed})
	return nil
}

// hostReference asks the operator's allow-lists.
func (p *plan) hostReference(it *item, field string, v v1.SecretValue) error {
	err := p.opt.Allow.Check(v, p.actor.Manager)
	if e, ok := errors.AsType[*identity.Error](err); ok {
		return &identity.Error{Code: e.Code, Permission: e.Permission, Message: string(it.ref()) + " " + field + ": " + e.Message, Err: e}
	}
	return err
}

// storeReference needs secret-store:use, and a path that the store is for.
func (p *plan) storeReference(it *item, f v1.SecretField) error {
	ref := identity.KindRef(v1.KindSecretStore, f.Value.Store)
	if err := p.may(identity.PermSecretStoreUse, ref, p.snap.Target(ref)); err != nil {
		return err
	}
	at := func(field, message string) manifest.Errors {
		return it.doc.Locate(v1.FieldErrors{{Path: f.Path + field, Message: message}})
	}
	refused := func(field, message string) error { return conflicting(at(field, message)) }
	key := identity.ResourceKey{Kind: v1.KindSecretStore, Name: f.Value.Store}
	var found v1.Resource
	if in := p.inSet[key]; in != nil {
		found = in.new()
	} else if !p.gone[key] {
		var err error
		if found, err = p.stored(key); err != nil {
			return err
		}
	}
	store, ok := found.(*v1.SecretStore)
	if !ok {
		return refused(".store", "there is no SecretStore "+f.Value.Store)
	}
	if path.Clean("/"+f.Value.Path) != "/"+strings.TrimPrefix(f.Value.Path, "/") {
		return invalid(at(".path", "must be written without \".\", \"..\" and \"//\""))
	}
	within := func(prefix string) bool {
		prefix = strings.TrimSuffix(prefix, "/")
		return f.Value.Path == prefix || strings.HasPrefix(f.Value.Path, prefix+"/")
	}
	if store.Spec.PathPrefixes != nil && !slices.ContainsFunc(store.Spec.PathPrefixes, within) {
		return refused(".path", "is outside of the store's pathPrefixes")
	}
	return nil
}
