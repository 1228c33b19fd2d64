package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/cultivar-ml/cultivar/server/internal/auth"
	"github.com/cultivar-ml/cultivar/server/internal/tasks"
	"github.com/cultivar-ml/cultivar/shared/api"
	"github.com/cultivar-ml/cultivar/shared/runspec"
)

// maxRegister bounds the body of a registration.
const maxRegister = 4 << 10

// Callback is the handler that trainers report to, for a listener of its own: people's requests never reach it, and a
// trainer's credential opens nothing else.
func (s *Server) Callback() http.Handler {
	r := mux.NewRouter()
	r.NotFoundHandler = s.router.NotFoundHandler
	r.MethodNotAllowedHandler = s.router.MethodNotAllowedHandler
	r.HandleFunc("/internal/v1/attempts/{task}/{attempt:[0-9]{1,9}}/register", s.register).Methods(http.MethodPost)
	r.HandleFunc("/internal/v1/attempts/{task}/{attempt:[0-9]{1,9}}/records", s.records).Methods(http.MethodPost)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		id := auth.NewID()
		w.Header().Set("X-Request-Id", id)
		r.ServeHTTP(w, req.WithContext(withRequestID(req.Context(), id)))
	})
}

func caller(r *http.Request) tasks.Caller {
	attempt, _ := strconv.Atoi(mux.Vars(r)["attempt"]) // the route lets only digits through
	return tasks.Caller{Task: mux.Vars(r)["task"], Attempt: attempt, Token: auth.Bearer(r), Executor: r.Header.Get("Cultivar-Executor")}
}

func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Executor string        `json:"executor"`
		Version  formatVersion `json:"version"`
		PID      int           `json:"pid"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRegister)).Decode(&body); err != nil {
		s.refuseTrainer(w, r, api.Errorf(api.CodeInvalid, "The registration cannot be understood: %v.", err))
		return
	}
	c := caller(r)
	c.Executor, c.Version = body.Executor, int(body.Version)
	if err := s.Tasks.Register(r.Context(), c); err != nil {
		s.refuseTrainer(w, r, err)
		return
	}
	s.answer(w, http.StatusOK, struct{}{})
}

func (s *Server) records(w http.ResponseWriter, r *http.Request) {
	ack, err := s.Tasks.Records(r.Context(), caller(r), http.MaxBytesReader(w, r.Body, runspec.MaxBatchBytes))
	if err != nil {
		s.refuseTrainer(w, r, err)
		return
	}
	s.answer(w, http.StatusOK, ack)
}

// refuseTrainer answers with an error and logs it: nobody reads what a trainer is told.
func (s *Server) refuseTrainer(w http.ResponseWriter, r *http.Request, err error) {
	if c := api.Code(err); c != api.CodeInternal { // fail logs those
		s.Log.WarnContext(r.Context(), "trainer refused", "path", r.URL.Path, "code", c, "error", err)
	}
	s.fail(w, r, err)
}

// formatVersion is the number of the formats that a trainer speaks; 0 when it names its release, a text, instead.
type formatVersion int

// UnmarshalJSON takes a number, and any text as 0.
func (v *formatVersion) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*v = 0
		return nil
	}
	var n int
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*v = formatVersion(n)
	return nil
}
