package api

// OperationInfo is what a test needs to know of an operation.
type OperationInfo struct {
	ID, Method, Path, Permission, AuditAction string
	AuditActions                              []string
}

// Operations lists what is registered.
func (a *API) Operations() []OperationInfo {
	var list []OperationInfo
	for _, op := range a.ops {
		actions := []string{op.AuditAction}
		for _, also := range op.Also {
			actions = append(actions, also.auditAction)
		}
		list = append(list, OperationInfo{op.ID, op.Method, op.Path, string(op.Permission), op.AuditAction, actions})
	}
	return list
}
