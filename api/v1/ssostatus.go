package v1

import "strings"

// SsoConnectionStatus is what the identity provider is to be told: the
// addresses of a connection, under server.externalURL. Gatehouse writes it;
// what is sent is ignored.
type SsoConnectionStatus struct {
	// RedirectURI is the redirect URI, also called callback (OpenID Connect).
	RedirectURI string `json:"redirectURI,omitempty"`
	// PostLogoutRedirectURI is where browsers come back to from signing out
	// (RP-Initiated Logout 1.0).
	PostLogoutRedirectURI string `json:"postLogoutRedirectURI,omitempty"`
	// BackchannelLogoutURI is where the provider says that a session has ended
	// (Back-Channel Logout 1.0).
	BackchannelLogoutURI string `json:"backchannelLogoutURI,omitempty"`
	// FrontchannelLogoutURI is for providers without a back channel
	// (Front-Channel Logout 1.0).
	FrontchannelLogoutURI string `json:"frontchannelLogoutURI,omitempty"`
	// EntityID is Gatehouse's entity id, also called audience or identifier
	// (SAML).
	EntityID string `json:"entityId,omitempty"`
	// MetadataURL answers with Gatehouse's SAML metadata; it is the entity id.
	MetadataURL string `json:"metadataURL,omitempty"`
	// ACSURL is the assertion consumer service, also called single sign-on or
	// reply URL (HTTP-POST binding).
	ACSURL string `json:"acsURL,omitempty"`
	// SLOURL is the single logout URL (HTTP-Redirect and HTTP-POST bindings).
	SLOURL string `json:"sloURL,omitempty"`
}

// StatusAt returns the addresses of the connection below the external URL of an
// installation. Sign-in itself takes them from here, so that what is shown is
// what is used.
func (c *SsoConnection) StatusAt(externalURL string) *SsoConnectionStatus {
	base := strings.TrimRight(externalURL, "/") + "/sso/"
	own := base + c.Name
	if c.Spec.Protocol == SsoSAML {
		metadata := own + "/saml/metadata"
		return &SsoConnectionStatus{EntityID: metadata, MetadataURL: metadata, ACSURL: own + "/saml/acs", SLOURL: own + "/saml/slo"}
	}
	return &SsoConnectionStatus{
		RedirectURI: own + "/callback", PostLogoutRedirectURI: base + "signed-out",
		BackchannelLogoutURI: own + "/backchannel-logout", FrontchannelLogoutURI: own + "/frontchannel-logout",
	}
}
