package v1

// SecretStore names a place that holds secrets. This version reads its schema
// and resolves none: a reference to a store is a secret that cannot be
// resolved, which is answered with 503.
type SecretStore struct {
	TypeMeta
	ObjectMeta `json:"metadata"`
	Spec       SecretStoreSpec `json:"spec"`
}

// SecretStoreProvider is a kind of secret store.
type SecretStoreProvider string

// The providers.
const (
	SecretStoreAWSSecretsManager SecretStoreProvider = "aws-secrets-manager"
	SecretStoreAWSSSM            SecretStoreProvider = "aws-ssm"
	SecretStoreGCP               SecretStoreProvider = "google-secret-manager"
	SecretStoreAzure             SecretStoreProvider = "azure-key-vault"
	SecretStoreVault             SecretStoreProvider = "vault"
)

// SecretStoreSpec says where the store is and how to sign in to it.
type SecretStoreSpec struct {
	// Provider is aws-secrets-manager, aws-ssm, google-secret-manager,
	// azure-key-vault or vault.
	Provider SecretStoreProvider `json:"provider"`
	// Address is the store's URL, where the provider needs one.
	Address string `json:"address,omitempty"`
	// Region is the cloud region, where the provider needs one.
	Region string `json:"region,omitempty"`
	// Project is the cloud project, where the provider needs one.
	Project string `json:"project,omitempty"`
	// PathPrefixes limit which secrets may be read and written through it.
	PathPrefixes Strings `json:"pathPrefixes,omitempty"`
	// Credentials are for stores that do not use the platform's identity.
	Credentials *SecretValue `json:"credentials,omitempty"`
	// Collaborators may use the store or manage it.
	Collaborators []Collaborator `json:"collaborators,omitempty"`
}

func (s *SecretStore) Type() *TypeMeta   { return &s.TypeMeta }
func (s *SecretStore) Meta() *ObjectMeta { return &s.ObjectMeta }

// Secrets returns the credentials.
func (s *SecretStore) Secrets() []SecretField {
	if s.Spec.Credentials == nil {
		return nil
	}
	return []SecretField{{Path: "spec.credentials", Value: s.Spec.Credentials, Destination: destination(
		string(s.Spec.Provider), s.Spec.Address, s.Spec.Region, s.Spec.Project)}}
}

// Default normalises subjects.
func (s *SecretStore) Default() { normalizeCollaborators(s.Spec.Collaborators) }

// Validate reports everything that is wrong with the store.
func (s *SecretStore) Validate() FieldErrors {
	errs := validateMeta(KindSecretStore, s.TypeMeta, s.ObjectMeta)
	oneOf(&errs, "spec.provider", s.Spec.Provider,
		SecretStoreAWSSecretsManager, SecretStoreAWSSSM, SecretStoreGCP, SecretStoreAzure, SecretStoreVault)
	if s.Spec.Address != "" {
		errs.url("spec.address", s.Spec.Address, false)
	}
	if s.Spec.Provider == SecretStoreVault && s.Spec.Address == "" {
		errs.addf("spec.address", "is required for vault")
	}
	errs.secret("spec.credentials", s.Spec.Credentials)
	errs.collaborators("spec.collaborators", s.Spec.Collaborators)
	return errs
}
