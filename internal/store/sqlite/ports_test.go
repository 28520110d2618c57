package sqlite_test

import (
	"github.com/gatehouse-ai/gatehouse/internal/control/audit"
	"github.com/gatehouse-ai/gatehouse/internal/control/scim"
	"github.com/gatehouse-ai/gatehouse/internal/control/sso"
	"github.com/gatehouse-ai/gatehouse/internal/store"
)

// The store is what the control wing's doors ask for.
var (
	_ audit.Store         = (*store.Database)(nil)
	_ scim.People         = (*store.Database)(nil)
	_ scim.Past           = (*store.Database)(nil)
	_ scim.Teams          = (*store.Database)(nil)
	_ scim.Writer         = (*store.Database)(nil)
	_ sso.BreakGlassStore = (*store.Database)(nil)
)
