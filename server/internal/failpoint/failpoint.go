// Package failpoint lets a test end this process, as kill -9 would, at a named place between two steps that a crash must
// not come between unharmed. In a program built without the tag failpoints, Hit does nothing.
//
// With the tag, the environment variable CULTIVAR_FAILPOINT names the place, such as deliver.link.started, or the place
// and the how manyth pass of it, such as deliver.link.block:3. The process kills itself with SIGKILL there: nothing is
// flushed, no deferred call runs.
//
// Places in use:
//
//	task.added              a run's row is there, nothing else
//	task.begun              a row says that an attempt starts, nothing of it has happened
//	task.credential         the attempt's credential is there, its spec is not
//	task.launched           the attempt's trainer was started, which nobody has noted
//	task.running            it is kept that the trainer runs
//	task.records            records are kept, which the trainer has not been told
//	task.concluding         an ended attempt's files are verified, nothing of it is kept
//	task.concluded          an attempt's end is kept, its job is not yet removed
//	task.deleted            a deleted run's rows are gone, its files are not
//	ingest.chunk            a chunk is on disk, that it is has not been kept
//	ingest.advanced         it is kept how far an upload is, which its sender has not been told
//	ingest.adopted          a pack is in its place, there is no row of it
//	ingest.packed           a pack has rows, its upload has not ended
//	ingest.listed           a manifest is in its place, its dataset is not ready
//	ingest.ready            a dataset is ready, its manifest's upload has not ended
//	ingest.taken            an upload has ended, its file is still there
//	ingest.deleted          a deleted dataset's rows are gone, its files are not
//	ingest.forgotten        all rows of a user are gone, the files are not
//	ingest.dropped          rows of packs that nothing names are gone, the packs are not
//	deliver.leased          a delivery is leased, nothing of it has happened
//	deliver.link.started    Dropbox has an upload session, its id is not yet kept
//	deliver.link.block      Dropbox has a block, the new offset is not yet kept
//	deliver.link.kept       the new offset is kept
//	deliver.link.finished   the file is in its place, which is not yet kept
//	deliver.link.shared     the share link exists, which is not yet kept
//	deliver.mail.about      it is kept that the mail is about to be sent
//	deliver.mail.sent       the mail server has taken the mail, which is not yet kept
//	deliver.settled         it is kept what became of a delivery
package failpoint
