import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { must } from '#base'
import { identityOf, systemClock, systemRandom } from '#runtime'
import type { MachineDescription } from '../machine.ts'
import { InstantJournal, type StoppedRecord } from './journal.ts'
import { JournalGate } from './journal-gate.ts'

const folder = await mkdtemp(join(tmpdir(), 'hf-gate-'))
after(() => rm(folder, { recursive: true }))

const machine: MachineDescription = {
  schema: 1,
  name: 'web',
  uuid: '7f3a1c52-9b1e-4a44-8d5b-1f0c2e6a7b80',
  firmware: 'bios',
  machineType: 'pc',
  cpuCount: 1,
  memoryMib: 64,
  disks: [{ lun: 0, diskId: 'disk-0', role: 'os', path: '/d', format: 'qcow2', bus: 'virtio-blk', serial: 'S' }],
  networks: [],
  agent: false,
  tags: {},
}

const host = {
  clock: systemClock,
  random: systemRandom,
  journalFolder: join(folder, 'own'),
  scratchFolder: folder,
  runFolder: folder,
  watchdog: 'elsewhere' as const,
}
const gate = new JournalGate({ host, journalsFolder: folder, waitMs: 0 })

/** An instant that some task of this host has open, in the journal of its repository. */
async function open(id: string, machineUuid: string): Promise<InstantJournal> {
  const journal = new InstantJournal(join(folder, 'repository-1'))
  const owner = must(identityOf(), 'This process is alive')
  const images: StoppedRecord['images'] = []
  const common = { schema: 1 as const, id, machine: 'x', machineUuid, owner, nbdSocketPath: '/x', tracking: undefined }
  await journal.create({ ...common, kind: 'stopped', step: 'open', daemon: undefined, images })
  return journal
}

test('a machine without an instant may do everything, also where there is no journal', async () => {
  const nowhere = new JournalGate({ host, journalsFolder: join(folder, 'nowhere'), waitMs: 0 })
  for (const change of ['attach_detach', 'resize', 'stop'] as const)
    assert.equal(await nowhere.during(machine, change, () => Promise.resolve('done')), 'done')
  assert.equal(await nowhere.isInstantOpen(machine), false)
})

test('an instant of another journal holds changes back; a stop breaks one of a running machine', async () => {
  const journal = await open('0a', machine.uuid)
  const record = must(await journal.read('0a'), 'It was written')
  await journal.replace({ ...record, kind: 'running' } as never)
  assert.equal(await gate.isInstantOpen(machine), true)
  for (const change of ['attach_detach', 'resize'] as const)
    await assert.rejects(
      gate.during(machine, change, () => Promise.resolve()),
      { code: 'instant_open', retry: 'later' },
    )
  assert.equal(await gate.during(machine, 'stop', () => Promise.resolve('stopped')), 'stopped')
  await journal.remove('0a')
  assert.equal(await gate.during(machine, 'resize', () => Promise.resolve('done')), 'done')
})

test('an instant of its images, which knows only the disk, holds its start back until it ends', async () => {
  const journal = await open('0b', 'disk-0')
  await assert.rejects(
    gate.during(machine, 'stop', () => Promise.resolve()),
    { code: 'instant_open' },
  )
  const patient = new JournalGate({ host, journalsFolder: folder })
  const started = patient.during(machine, 'stop', () => Promise.resolve('started'))
  await journal.remove('0b')
  assert.equal(await started, 'started')
  await open('0c', 'another-disk')
  assert.equal(await gate.isInstantOpen(machine), false)
})
