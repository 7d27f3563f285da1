import { ManualClock } from '#base'
import { describeBlobStore } from '../blob-store.contract.ts'
import { MemoryStore } from './memory-store.ts'

describeBlobStore('a memory store', () => new MemoryStore())

const clock = new ManualClock()
describeBlobStore('a memory store with locks', () => new MemoryStore({ clock }), { nowMs: () => clock.nowMs() })
describeBlobStore('a memory store that goes by the host', () => new MemoryStore({ clock, clockOf: 'host' }), {
  nowMs: () => clock.nowMs(),
})
