import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { currentBootId, identityOf, systemClock } from '#runtime'
import type { MachineDescription } from '../machine.ts'
import { listMachines, MachineFolder } from './machine-folder.ts'
import type { RunRecord } from './run-record.ts'

let root: string
let folder: MachineFolder

const MACHINE: MachineDescription = {
  schema: 1,
  name: 'web-1',
  uuid: '7f3a1c52-9b1e-4a44-8d5b-1f0c2e6a7b80',
  firmware: 'bios',
  machineType: 'pc',
  cpuCount: 1,
  memoryMib: 64,
  disks: [],
  networks: [],
  agent: false,
  tags: {},
}
const roots = (): { machinesFolder: string; runtimeFolder: string } => ({
  machinesFolder: join(root, 'm'),
  runtimeFolder: join(root, 'r'),
})

function running(startTicks: (mine: string) => string): RunRecord {
  const mine = identityOf()
  assert.ok(mine)
  const identity = { ...mine, startTicks: startTicks(mine.startTicks) }
  const run = { schema: 1, runId: 'r1', bootId: currentBootId(), startedAtMs: 1 } as const
  return { ...run, phase: 'running', process: identity, accelerator: 'tcg', notes: [] }
}

describe('MachineFolder', () => {
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'hf-mf-'))
    folder = new MachineFolder(roots(), 'web-1', systemClock)
    await folder.writeDescription(MACHINE)
  })
  afterEach(() => rmSync(root, { recursive: true }))

  it('reads back what it wrote and lists it', async () => {
    assert.deepEqual(await folder.readDescription(), MACHINE)
    mkdirSync(join(root, 'm', 'leftover'))
    assert.deepEqual(await listMachines(roots()), ['web-1'])
  })

  it('takes a process that got the number of a dead QEMU for a stranger', async () => {
    await folder.writeRun(running((mine) => mine))
    assert.equal((await folder.judge()).verdict.power, 'running')
    await folder.writeRun(running((mine) => `${Number(mine) - 1}`))
    assert.equal((await folder.adopt()).power, 'crashed')
    const record = await folder.readRun()
    assert.ok(record?.phase === 'ended')
    assert.equal(record.end.cause, 'vanished')
  })

  it('does not adopt a process that a pid file names and that has not our monitor', async () => {
    await folder.clearRuntime()
    writeFileSync(folder.paths.pid, `${process.pid}\n`)
    const bootId = currentBootId()
    await folder.writeRun({ schema: 1, runId: 'r1', phase: 'starting', bootId, startedAtMs: 1 })
    assert.deepEqual((await folder.judge()).verdict, { power: 'stopped', end: { cause: 'start_interrupted' } })
  })

  it('says what is wrong with a description that somebody edited', async () => {
    const broken: unknown[] = [
      '{',
      [],
      { ...MACHINE, schema: 2 },
      { ...MACHINE, name: 'other' },
      { ...MACHINE, cpuCount: 0 },
      { ...MACHINE, disks: 'none' },
    ]
    for (const value of broken) {
      writeFileSync(folder.paths.description, typeof value === 'string' ? value : JSON.stringify(value))
      await assert.rejects(folder.readDescription(), { code: 'machine_invalid' })
    }
  })

  it('never removes a disk with the rest', async () => {
    mkdirSync(folder.paths.disks)
    const disk = join(folder.paths.disks, 'x.qcow2')
    writeFileSync(disk, 'data')
    await folder.forget()
    await folder.removeRest()
    assert.equal(existsSync(disk), true)
    await assert.rejects(folder.readDescription(), { code: 'machine_not_found' })
    rmSync(disk)
    await folder.removeRest()
    assert.equal(existsSync(folder.paths.folder), false)
  })
})
