package v1

// SsoConnection lets people sign in to the console and to Gatehouse's own
// authorization server by an identity provider, with OpenID Connect or SAML 2.0.
type SsoConnection struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       SsoConnectionSpec `json:"spec"`
}

// SsoConnectionSpec says how people sign in and what their sign-in means.
type SsoConnectionSpec struct {
	// DisplayName stands on the sign-in page's button. Default: the name.
	DisplayName string `json:"displayName,omitempty"`
}

func (c *SsoConnection) Type() *TypeMeta        { return &c.TypeMeta }
func (c *SsoConnection) Meta() *ObjectMeta      { return &c.ObjectMeta }
func (c *SsoConnection) Secrets() []SecretField { return nil }

// Default sets the documented defaults.
func (c *SsoConnection) Default() {}

// Validate reports everything that is wrong with the connection.
func (c *SsoConnection) Validate() FieldErrors {
	return validateMeta(KindSsoConnection, c.TypeMeta, c.ObjectMeta)
}
