import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { countSockets } from './nbd-server.ts'

const TABLE = `Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 21001 /run/hf/a b.nbd
0000000000000000: 00000003 00000000 00000000 0001 03 21002 /run/hf/a b.nbd
0000000000000000: 00000003 00000000 00000000 0001 03 21003
0000000000000000: 00000003 00000000 00000000 0001 03 21004 /run/hf/a b.nbd
0000000000000000: 00000002 00000000 00010000 0001 01 21005 /run/hf/a b.nbd2
0000000000000000: 00000002 00000000 00000000 0002 01 21006 @/run/hf/a
`

describe('countSockets()', () => {
  it('tells the listener from the connections made to it, and both from other sockets', () => {
    assert.deepEqual(countSockets(TABLE, '/run/hf/a b.nbd'), { listening: 1, connected: 2 })
    assert.deepEqual(countSockets(TABLE, '/run/hf/a b.nbd2'), { listening: 1, connected: 0 })
    assert.deepEqual(countSockets(TABLE, '/run/hf/a'), { listening: 0, connected: 0 })
    assert.deepEqual(countSockets('', '/run/hf/a'), { listening: 0, connected: 0 })
  })
})
