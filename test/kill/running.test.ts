/** Kill matrix of a running machine whose guest is not frozen. */
import { killMatrix } from './kill-matrix.ts'
import { blankSubject } from './subjects.ts'

killMatrix({
  what: 'A running machine, crash consistent,',
  subject: blankSubject,
  steps: ['prepare', 'prepare.nodes', 'pause', 'pause.sent', 'pause.inserted', 'open', 'commit', 'dismantled', 'abort'],
  victims: ['command', 'worker', 'serve', 'watchdog'],
})
