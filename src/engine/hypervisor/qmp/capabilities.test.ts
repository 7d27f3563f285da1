import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isHoldfastError } from '#base'
import { capabilitiesOf, QmpSchema } from './capabilities.ts'

/** The shape of `query-qmp-schema` (qapi/introspect.json), cut to what is asked for. */
function schema(filterMembers: readonly string[], drivers: readonly string[]): unknown {
  return [
    { name: 'blockdev-add', 'meta-type': 'command', 'arg-type': '1', 'ret-type': '0' },
    {
      name: '1',
      'meta-type': 'object',
      members: [{ name: 'driver', type: '2' }],
      tag: 'driver',
      variants: drivers.map((driver) => ({ case: driver, type: driver === 'copy-before-write' ? '3' : '4' })),
    },
    { name: '3', 'meta-type': 'object', members: filterMembers.map((name) => ({ name, type: 'str' })) },
    { name: '4', 'meta-type': 'object', members: [] },
    { name: 'block-export-add', 'meta-type': 'command', 'arg-type': '5', 'ret-type': '0' },
    {
      name: '5',
      'meta-type': 'object',
      members: [{ name: 'id', type: 'str' }],
      tag: 'type',
      variants: [{ case: 'nbd', type: '6' }],
    },
    { name: '6', 'meta-type': 'object', members: [{ name: 'bitmaps', type: '7', default: null }] },
    { name: 'blockdev-backup', 'meta-type': 'command', 'arg-type': '4', 'ret-type': '0' },
  ]
}

const VERSION = { major: 7, minor: 2 }

describe('capabilitiesOf()', () => {
  it('sees the filter with all its options', () => {
    const members = ['file', 'target', 'bitmap', 'on-cbw-error', 'cbw-timeout']
    const can = capabilitiesOf(new QmpSchema(schema(members, ['raw', 'copy-before-write', 'snapshot-access'])), VERSION)
    assert.ok(can.copyBeforeWrite && can.breakSnapshot && can.copyBeforeWriteBitmap && can.snapshotAccess)
    assert.ok(can.blockExportAdd && can.exportBitmaps && can.blockdevBackup)
    assert.ok(!can.bitmapMerge && !can.writeThreshold && !can.exportsFromIoThreads)
  })

  it('does not take a filter that fails guest writes for one that breaks the snapshot', () => {
    const can = capabilitiesOf(new QmpSchema(schema(['file', 'target'], ['copy-before-write'])), VERSION)
    assert.ok(can.copyBeforeWrite)
    assert.ok(!can.breakSnapshot && !can.copyBeforeWriteBitmap && !can.snapshotAccess)
  })

  it('finds nothing where there is nothing', () => {
    const can = capabilitiesOf(new QmpSchema([]), { major: 10, minor: 0 })
    assert.deepEqual(
      Object.entries(can)
        .filter(([, has]) => has)
        .map(([name]) => name),
      ['exportsFromIoThreads'],
    )
  })

  it('refuses what is no schema', () => {
    for (const bad of [undefined, {}, ['x']]) {
      assert.throws(
        () => new QmpSchema(bad),
        (error: unknown) => isHoldfastError(error, 'qmp_protocol_violation'),
      )
    }
  })
})
