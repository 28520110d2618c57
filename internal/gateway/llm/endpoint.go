package llm

import (
	"strings"

	v1 "github.com/gatehouse-ai/gatehouse/api/v1"
)

// Endpoint is one route of the model APIs.
type Endpoint uint8

// The endpoints. The zero value is none.
const (
	None Endpoint = iota
	ModelsList
	ModelsGet
	ChatCompletions
	Completions
	Responses
	Embeddings
	ImageGenerations
	ImageEdits
	AudioSpeech
	AudioTranscriptions
	AudioTranslations
	Moderations
	Rerank
	Messages
	CountTokens
	endpointCount
)

// Calls lists the endpoints that call a model, in the order of their paths in
// the documentation.
func Calls() []Endpoint {
	var list []Endpoint
	for e := ChatCompletions; e < endpointCount; e++ {
		list = append(list, e)
	}
	return list
}

// String returns the endpoint's name in records, logs and metrics.
func (e Endpoint) String() string {
	switch e {
	case ModelsList:
		return "models.list"
	case ModelsGet:
		return "models.get"
	case ChatCompletions:
		return "chat.completions"
	case Completions:
		return "completions"
	case Responses:
		return "responses"
	case Embeddings:
		return "embeddings"
	case ImageGenerations:
		return "images.generations"
	case ImageEdits:
		return "images.edits"
	case AudioSpeech:
		return "audio.speech"
	case AudioTranscriptions:
		return "audio.transcriptions"
	case AudioTranslations:
		return "audio.translations"
	case Moderations:
		return "moderations"
	case Rerank:
		return "rerank"
	case Messages:
		return "messages"
	case CountTokens:
		return "messages.count_tokens"
	default:
		return "unknown"
	}
}

// Path returns the endpoint's path below /v1, and below a provider's base URL.
// It is empty for an endpoint that is not one.
func (e Endpoint) Path() string {
	switch e {
	case ModelsList, ModelsGet:
		return "/models"
	case ChatCompletions:
		return "/chat/completions"
	case Completions:
		return "/completions"
	case Responses:
		return "/responses"
	case Embeddings:
		return "/embeddings"
	case ImageGenerations:
		return "/images/generations"
	case ImageEdits:
		return "/images/edits"
	case AudioSpeech:
		return "/audio/speech"
	case AudioTranscriptions:
		return "/audio/transcriptions"
	case AudioTranslations:
		return "/audio/translations"
	case Moderations:
		return "/moderations"
	case Rerank:
		return "/rerank"
	case Messages:
		return "/messages"
	case CountTokens:
		return "/messages/count_tokens"
	default:
		return ""
	}
}

// ModelType returns what a model must be able to do. An endpoint that is not
// in the list needs a type that no model has.
func (e Endpoint) ModelType() v1.ModelType {
	switch e {
	case ChatCompletions:
		return v1.ModelChat
	case Completions:
		return v1.ModelCompletion
	case Responses:
		return v1.ModelResponses
	case Embeddings:
		return v1.ModelEmbedding
	case ImageGenerations, ImageEdits:
		return v1.ModelImage
	case AudioSpeech:
		return v1.ModelSpeech
	case AudioTranscriptions, AudioTranslations:
		return v1.ModelTranscript
	case Moderations:
		return v1.ModelModeration
	case Rerank:
		return v1.ModelRerank
	case Messages, CountTokens:
		return v1.ModelMessages
	default:
		return "none"
	}
}

// Multipart reports whether the request is a form with files.
func (e Endpoint) Multipart() bool {
	switch e {
	case ImageEdits, AudioTranscriptions, AudioTranslations:
		return true
	default:
		return false
	}
}

// Dialect is the shape of requests, answers and errors.
type Dialect uint8

// The dialects.
const (
	OpenAI Dialect = iota
	Anthropic
)

// Dialect returns the shape that the endpoint speaks.
func (e Endpoint) Dialect() Dialect {
	if e == Messages || e == CountTokens {
		return Anthropic
	}
	return OpenAI
}

// Speaks reports whether a provider has the endpoint in its own dialect, which
// is what this version forwards.
func (e Endpoint) Speaks(p v1.Provider) bool {
	if e < ChatCompletions || e >= endpointCount {
		return false
	}
	switch p {
	case v1.ProviderEcho:
		return true
	case v1.ProviderAnthropic:
		return e.Dialect() == Anthropic
	case v1.ProviderOpenAI, v1.ProviderAzureOpenAI, v1.ProviderOpenAICompatible:
		return e.Dialect() == OpenAI
	default:
		return false
	}
}

// ValidModel reports whether a model can have a name at all; others could mean
// something in a provider's path.
func ValidModel(name string) bool {
	if name == "" || len(name) > 256 || name[0] == '/' || name == "." || name == ".." {
		return false
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c <= ' ' || c == 0x7f || c == '\\' || c == '%' || c == '?' || c == '#' || c == '"':
			return false
		case c == '/' && (i+1 == len(name) || name[i+1] == '/'):
			return false
		case c == '.' && strings.HasPrefix(name[i:], "..") && (i == 0 || name[i-1] == '/') && (i+2 == len(name) || name[i+2] == '/'):
			return false
		}
	}
	return true
}
