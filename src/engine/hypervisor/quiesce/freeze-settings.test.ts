import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { readFreezeSettings } from './freeze-settings.ts'

describe('readFreezeSettings()', () => {
  it('freezes everything in the usual time when nothing is said', () => {
    const usual = { freezes: true, skips: [], waitMs: undefined }
    for (const text of ['', '[SnapshotThread]', '[Other]\nfsfreeze: False', '# MountsToSkip = /x', 'MountsToSkip = /x'])
      assert.deepEqual(readFreezeSettings(text), usual, text)
  })

  it("reads Azure's example, whose first key stands on the section's line", () => {
    const text =
      '[SnapshotThread] fsfreeze: True\r\nMountsToSkip = /mnt/resource, /data/\r\nSafeFreezeWaitInSeconds=600\r\n'
    assert.deepEqual(readFreezeSettings(text), { freezes: true, skips: ['/mnt/resource', '/data'], waitMs: 600_000 })
  })

  it('switches freezing off, takes keys without case, and no wait beyond 600 s', () => {
    const text = '[SnapshotThread]\nFSFREEZE = no\nmountstoskip:/\nsafefreezewaitinseconds: 9999'
    assert.deepEqual(readFreezeSettings(text), { freezes: false, skips: ['/'], waitMs: 600_000 })
  })

  it('is not misled by values that mean nothing', () => {
    const text = '[SnapshotThread]\nMountsToSkip = mnt,,\nSafeFreezeWaitInSeconds = soon\nfsfreeze ='
    assert.deepEqual(readFreezeSettings(text), { freezes: true, skips: [], waitMs: undefined })
  })
})
