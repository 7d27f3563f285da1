import assert from 'node:assert/strict'
import { test } from 'node:test'
import { must } from '#base'
import { figuresOf } from './figures.ts'
import { pagesIn, piecesOf } from './download.ts'
import type { DiskJson, SnapshotJson, UsageJson } from './resource-json.ts'
import { groupsOf } from './snapshot-group.ts'

const IN = '/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute'
const disk: DiskJson = { id: `${IN}/disks/d`, name: 'd', location: 'eastus', properties: { diskSizeBytes: 100 } }

function snapshot(name: string, source: string, hour: number, more: Partial<SnapshotJson> = {}): SnapshotJson {
  return {
    id: `${IN}/snapshots/${name}`,
    name,
    location: 'eastus',
    properties: {
      timeCreated: `2026-11-22T${String(hour).padStart(2, '0')}:00:00.000Z`,
      provisioningState: 'Succeeded',
      creationData: { sourceResourceId: source },
    },
    ...more,
  }
}

test('figuresOf() counts a copy as what its first snapshot was: the same disk, instant and group', () => {
  const first = snapshot('first', disk.id.toUpperCase(), 8, { tags: { consistencyGroup: 'nightly' } })
  const copy = snapshot('copy', first.id, 11, { location: 'westus' })
  const [figures] = figuresOf([disk], [copy, first], [])
  const times = must(figures, 'One disk').snapshots.map(({ takenMs, region, group }) => [takenMs, region, group])
  const takenMs = globalThis.Date.parse('2026-11-22T08:00:00.000Z')
  assert.deepEqual(times, [
    [takenMs, 'westus', 'nightly'],
    [takenMs, 'eastus', 'nightly'],
  ])
})

test('figuresOf() leaves out what is not durable yet, and what is not known', () => {
  const making = snapshot('making', disk.id, 9)
  const state = { ...making, properties: { ...making.properties, provisioningState: 'Creating' } }
  const usage: UsageJson = { id: disk.id.toLowerCase(), name: 'd', type: 'disks', properties: { usedBytes: 7 } }
  const [figures] = figuresOf([disk], [state], [usage])
  assert.deepEqual(figures?.snapshots, [])
  assert.equal(figures.usedBytes, 7)
  assert.equal(figuresOf([disk], [], [])[0]?.usedBytes, undefined)
})

test('groupsOf() puts together what was taken at one instant under one name', () => {
  const tags = { consistencyGroup: 'now' }
  const all = [
    snapshot('a1', disk.id, 8, { tags }),
    snapshot('b1', disk.id, 8, { tags }),
    snapshot('a2', disk.id, 9, { tags }),
    snapshot('alone', disk.id, 8),
  ]
  const found = groupsOf(all).map(({ instant, snapshots }) => [instant, snapshots.map((id) => id.split('/').at(-1))])
  assert.deepEqual(found, [
    ['2026-11-22T08:00:00.000Z', ['a1', 'b1']],
    ['2026-11-22T09:00:00.000Z', ['a2']],
  ])
})

test('piecesOf() covers the pages that hold something, in pieces, and nothing beyond the end', () => {
  const MIB = 1024 * 1024
  const xml =
    '<?xml version="1.0"?><PageList><PageRange><Start>0</Start><End>511</End></PageRange>' +
    `<PageRange><Start>${MIB}</Start><End>${10 * MIB - 1}</End></PageRange></PageList>`
  const pages = pagesIn(xml)
  assert.deepEqual(pages, [
    { from: 0, to: 512 },
    { from: MIB, to: 10 * MIB },
  ])
  assert.deepEqual(piecesOf(pages, 9 * MIB), [
    { from: 0, to: 512 },
    { from: MIB, to: 5 * MIB },
    { from: 5 * MIB, to: 9 * MIB },
  ])
  assert.deepEqual(piecesOf(pages, 256), [{ from: 0, to: 256 }])
})
