package listing

// A stage is a moment of a change, at which tests have things go wrong.
type stage string

const (
	stageBegin     stage = "begin"     // no transaction yet
	stageChanged   stage = "changed"   // what was asked for is made
	stageFinished  stage = "finished"  // and what follows from it: journal, audit, state
	stageCommitted stage = "committed" // on the disk
	stageState     stage = "state"     // the writer knows it, and nobody else
	stageSwapped   stage = "swapped"   // the next snapshot is published, and who waits for that was not told
	stagePublished stage = "published" // but who asked does not know

	stageImage    stage = "image"    // an image is to be written
	stageReopened stage = "reopened" // after a failed commit, and nothing read yet
	stageResumed  stage = "resumed"  // a step of a resumption is done, and the next was not asked for
)

// at is where a stage is reached. What a test answers is what goes wrong there;
// once a change is on the disk nothing does, and it can only look.
func (s *Store) at(now stage) error {
	if s.onStage == nil {
		return nil
	}
	return s.onStage(now)
}
