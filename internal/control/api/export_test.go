package api

// OperationInfo is what a test needs to know of an operation.
type OperationInfo struct{ ID, Method, Path, Permission, AuditAction string }

// Operations lists what is registered.
func (a *API) Operations() []OperationInfo {
	var list []OperationInfo
	for _, op := range a.ops {
		list = append(list, OperationInfo{op.ID, op.Method, op.Path, string(op.Permission), op.AuditAction})
	}
	return list
}
