import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PointRecord } from '#engine/repository'
import { restrictedNetworks } from './restricted-networks.ts'

function pointWith(networks: unknown): PointRecord {
  return {
    schema: 1,
    id: '00',
    machine: 'm',
    takenAt: '2026-11-22T00:00:00.000Z',
    consistency: 'crash',
    notes: [],
    mode: 'full',
    disks: [],
    attachments: [],
    writer: 'test',
    description: { networks },
  }
}

test('restrictedNetworks() gives each card its MAC and model back, and takes nothing else from the description', () => {
  const tap = { kind: 'tap', mac: '52:54:00:00:00:01', interface: 'tap0' }
  const open = {
    kind: 'user',
    mac: '52:54:00:00:00:02',
    restricted: false,
    forwards: [{ hostPort: 22, guestPort: 22, protocol: 'tcp' }],
    model: 'e1000',
  }
  const odd = [{ mac: 'x' }, { mac: '53:54:00:00:00:01' }, tap, null, 7, { kind: 'none' }]
  assert.deepEqual(restrictedNetworks(pointWith([tap, open, ...odd])), [
    { kind: 'user', mac: tap.mac, restricted: true, forwards: [] },
    { kind: 'user', mac: open.mac, restricted: true, forwards: [], model: 'e1000' },
  ])
  for (const none of [undefined, {}, 'x']) assert.deepEqual(restrictedNetworks(pointWith(none)), [])
})
