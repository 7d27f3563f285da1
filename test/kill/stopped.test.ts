/** Kill matrix of a stopped machine. */
import { killMatrix, VICTIMS } from './kill-matrix.ts'
import { stoppedSubject } from './subjects.ts'

killMatrix({
  what: 'A stopped machine',
  subject: stoppedSubject,
  steps: ['prepare', 'prepare.bitmaps', 'prepare.daemon', 'open', 'commit', 'dismantled', 'abort'],
  victims: VICTIMS,
  absent: { 'storage daemon': ['prepare', 'prepare.bitmaps', 'dismantled'] },
})
