/** Kill matrix of a running machine whose guest is frozen for the instant. */
import { killMatrix } from './kill-matrix.ts'
import { guestSubject } from './subjects.ts'

killMatrix({
  what: 'A running machine with a guest that is frozen',
  subject: guestSubject,
  steps: ['prepare', 'freeze', 'freeze.frozen', 'pause.sent', 'pause.inserted', 'thaw', 'open', 'commit', 'abort'],
  victims: ['command', 'worker', 'serve', 'watchdog'],
})
