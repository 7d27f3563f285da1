import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { MachineDisk } from '../machine.ts'
import type { QemuCapabilities } from '../qmp/capabilities.ts'
import { settleActions } from './dismantle.ts'
import type { DriveState, Inventory } from './inventory.ts'
import { type InstantRequest, planInstant } from './plan.ts'
import { scratchBytesWhole, shareScratch } from './scratch.ts'
import type { BitmapState } from './tracking.ts'

const CAN: QemuCapabilities = {
  copyBeforeWrite: true,
  breakSnapshot: true,
  copyBeforeWriteBitmap: true,
  snapshotAccess: true,
  blockdevBackup: true,
  blockExportAdd: true,
  exportBitmaps: true,
  bitmapMerge: true,
  writeThreshold: true,
  exportsFromIoThreads: true,
}

function drive(lun: number, state: Partial<DriveState> = {}): DriveState {
  return {
    qomPath: `/machine/peripheral/vd${lun}`,
    topNode: `disk${lun}`,
    formatNode: `disk${lun}`,
    foreignFilter: undefined,
    format: 'qcow2',
    filename: `/images/${lun}.qcow2`,
    sizeBytes: 1_000_448,
    readOnly: false,
    keepsBitmaps: true,
    bitmaps: [],
    ...state,
  }
}

function plan(
  drives: readonly DriveState[],
  more: Partial<InstantRequest> = {},
  found: Partial<Inventory> = {},
  can = CAN,
) {
  const disks = drives.map((one, lun) => {
    const disk: MachineDisk = {
      lun,
      diskId: `id${lun}`,
      role: 'data',
      path: one.filename,
      format: 'qcow2',
      bus: 'virtio-blk',
      serial: '',
    }
    return { disk, drive: one }
  })
  const inventory: Inventory = {
    running: true,
    status: 'running',
    drives,
    nodeNames: drives.map((one) => one.topNode),
    hasIoThreads: false,
    jobs: [],
    ...found,
  }
  return planInstant({ id: '0123abcd', disks, tracking: undefined, refusedFilter: [], ...more }, inventory, can)
}

const codes = (made: ReturnType<typeof plan>): string[] => made.refusals.map((refusal) => refusal.code)

describe('planInstant()', () => {
  it('filters every disk where QEMU can, and gives node names that QEMU takes', () => {
    const made = plan(Array.from({ length: 65 }, (_, lun) => drive(lun)))
    assert.deepEqual(codes(made), [])
    assert.equal(made.weakerPromise, undefined)
    const names = made.disks.flatMap((disk) => [
      disk.scratchNode,
      `${disk.scratchNode}-file`,
      disk.filterNode,
      disk.accessNode,
      disk.exportId,
    ])
    assert.equal(new Set(names).size, 65 * 5)
    for (const name of names) assert.ok(name.length <= 31, name)
  })

  it('falls back to jobs, saying so, for disks that refused the filter and for an older QEMU', () => {
    const one = plan([drive(0), drive(1)], { refusedFilter: [1] })
    assert.deepEqual(
      one.disks.map((disk) => disk.method),
      ['filter', 'job'],
    )
    assert.match(one.weakerPromise ?? '', /Disks 1 /)
    const old = plan([drive(0)], {}, {}, { ...CAN, breakSnapshot: false })
    assert.equal(old.disks[0]?.method, 'job')
  })

  it('refuses a QEMU that can do neither', () => {
    assert.deepEqual(codes(plan([drive(0)], {}, {}, { ...CAN, breakSnapshot: false, blockdevBackup: false })), [
      'hypervisor_feature_missing',
    ])
  })

  it('reports every reason against it, not the first', () => {
    const jobs = [{ id: 'mirror0', type: 'mirror', node: 'disk1' }]
    const made = plan([drive(0, { readOnly: true }), drive(1), drive(2, { foreignFilter: 'mirror_top' })], {}, { jobs })
    assert.deepEqual(
      made.refusals.map((refusal) => [refusal.code, refusal.lun]),
      [
        ['disk_unsupported', 0],
        ['disk_in_use', 1],
        ['disk_in_use', 2],
      ],
    )
  })

  it('goes on under a hydration, which changes where bytes lie and not what they are', () => {
    assert.deepEqual(codes(plan([drive(0)], {}, { jobs: [{ id: 'disk0', type: 'stream', node: '' }] })), [])
  })

  it('does not come near a job in a machine with I/O threads, which QEMU 7.2 does not survive', () => {
    const jobs = [{ id: 'disk0', type: 'stream', node: '' }]
    assert.deepEqual(codes(plan([drive(0)], {}, { jobs, hasIoThreads: true })), ['disk_in_use'])
    assert.deepEqual(codes(plan([drive(0)], {}, { hasIoThreads: true })), [])
    const known = { ...CAN, exportsFromIoThreads: false }
    assert.deepEqual(codes(plan([drive(0)], {}, { hasIoThreads: true }, known)), ['hypervisor_feature_missing'])
  })

  it('refuses when nodes of another instant are there', () => {
    assert.deepEqual(codes(plan([drive(0)], {}, { nodeNames: ['disk0', 'hf-ffffffff-0-filter'] })), ['instant_open'])
  })
})

describe('settleActions()', () => {
  const state = (name: string, recording: boolean, inconsistent = false): BitmapState => {
    return { name, recording, inconsistent, busy: false, persistent: true, granularityBytes: 65_536 }
  }
  const disk = { formatNode: 'disk0', tracking: { previous: 'old', next: 'new' } }
  const types = (found: readonly BitmapState[], verdict: 'commit' | 'abort', of = disk): string[] =>
    settleActions(of, found, verdict).map(
      (action) => `${action.type.slice(19)} ${String(action.data['name'] ?? action.data['target'])}`,
    )

  it('commits by dropping the previous bitmap, once', () => {
    assert.deepEqual(types([state('old', false), state('new', true)], 'commit'), ['remove old'])
    assert.deepEqual(types([state('new', true)], 'commit'), [])
  })

  it('aborts by giving the previous bitmap what the new one saw', () => {
    assert.deepEqual(types([state('old', false), state('new', true)], 'abort'), [
      'enable old',
      'merge old',
      'remove new',
    ])
  })

  it('aborts an instant that never came by dropping the new bitmap only', () => {
    assert.deepEqual(types([state('old', true), state('new', false)], 'abort'), ['remove new'])
    assert.deepEqual(types([state('old', true)], 'abort'), [])
    const first = { formatNode: 'disk0', tracking: { previous: undefined, next: 'new' } } as unknown as typeof disk
    assert.deepEqual(types([state('new', true)], 'abort', first), ['remove new'])
  })

  it('does not ask QEMU to merge what it calls inconsistent', () => {
    assert.deepEqual(types([state('old', false, true), state('new', true)], 'abort'), ['remove new'])
    assert.deepEqual(types([state('old', false), state('new', false, true)], 'abort'), ['remove new'])
  })
})

describe('shareScratch()', () => {
  it('never shares out more than the budget, and never more than a disk can use', () => {
    const sizes = [1_000_448, 64 * 2 ** 30, 5 * 2 ** 40, 512]
    for (const budget of [9 * 2 ** 20, 2 ** 30, 2 ** 40, 2 ** 44]) {
      const caps = shareScratch(sizes, budget)
      assert.ok(caps !== undefined)
      assert.ok(caps.reduce((sum, cap) => sum + cap, 0) <= budget)
      for (const [i, cap] of caps.entries()) {
        assert.ok(cap >= 2 ** 21 && cap <= scratchBytesWhole(sizes[i] ?? 0) && cap % 65_536 === 0)
      }
    }
  })

  it('says when there is too little for any', () => {
    assert.equal(shareScratch([1, 2, 3], 6 * 2 ** 20 - 1), undefined)
    assert.equal(shareScratch([1], -5), undefined)
  })
})
