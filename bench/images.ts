/**
 * Disks and machines from one image: `script/node bench/images.ts [count [rounds]]`. A server of a home of its own, asked over its API
 * as `az` would. Disks: by several requests at once, of an image of 512 MiB that hold something on a disk of 4 GiB.
 *
 *   first disk     the base is made: the version restored, verified, synced
 *   all others     200 disks, each asked for, followed to its end, on record
 *   files alone    what of that is the overlays: written and synced one after the other, without server and records
 *   qemu-img       the same by one `qemu-img create` each
 *
 * Machines: the micro guest, by one deployment with the template of `az vm create --count 200`; each with a network card. The host gives
 * room to eight of them, which boot while the others are made (test/api/many-machines.test.ts says what must be true of them).
 *
 *   made           from the request until the deployment has ended
 *   reached        until the agents of all eight answer
 *   deleted        199 of them, by several requests at once
 *
 * Medians of the rounds; disk use is what the pool's folder takes, by its blocks.
 */
import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { formatBytes, GIB, MIB, must } from '#base'
import { createQcow2Overlay } from '#engine/block'
import { systemClock } from '#runtime'
import { Fleet, spaceOf } from '../test/api/fleet.ts'

const run = promisify(execFile)
const [DISK_BYTES, DATA_BYTES, RUNNING] = [4 * GIB, 512 * MIB, 8]
const [DISKS, IMAGES] = ['Microsoft.Compute/disks', 'Microsoft.Compute/images'] as const

type Round = Readonly<{ first: number; others: number; overlayBytes: number; baseBytes: number }>
type MachineRound = Readonly<{ made: number; reached: number; deleted: number; bytes: number }>

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const startMs = systemClock.monotonicMs()
  await work()
  return (systemClock.monotonicMs() - startMs) / 1000
}

function median(values: readonly number[]): number {
  return must(values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)], 'There is a value')
}

async function prepareDisks(fleet: Fleet): Promise<void> {
  const source = join(await fleet.importFolder(), 'source.raw')
  const file = await open(source, 'w')
  await file.truncate(DISK_BYTES)
  const piece = new Uint8Array(MIB)
  for (let at = 0; at < DATA_BYTES; at += MIB)
    await file.write(randomFillSync(piece), 0, MIB, Math.floor((at / DATA_BYTES) * (DISK_BYTES / MIB)) * MIB)
  await file.close()
  await fleet.importDisk('data', source)
  await rm(source)
  await fleet.imageOf('data', 'disks')
}

async function diskRound(fleet: Fleet, count: number, number: number): Promise<Round> {
  await rm(join(fleet.pool, 'bases'), { recursive: true, force: true })
  const id = (i: number): string => fleet.id(DISKS, `r${number}-${i}`)
  const creationData = { createOption: 'FromImage', imageReference: { id: fleet.id(IMAGES, 'disks') } }
  const make = (one: string): Promise<void> => fleet.do('PUT', one, { creationData })
  const first = await seconds(() => make(id(0)))
  const ids = Array.from({ length: count }, (_, i) => id(i + 1))
  const before = (await spaceOf(join(fleet.pool, 'disks'))).bytes
  const others = await seconds(() => fleet.all(ids, make))
  const overlayBytes = ((await spaceOf(join(fleet.pool, 'disks'))).bytes - before) / count
  const baseBytes = (await spaceOf(join(fleet.pool, 'bases'))).bytes
  await fleet.all([id(0), ...ids], (one) => fleet.do('DELETE', one))
  return { first, others, overlayBytes, baseBytes }
}

async function machineRound(fleet: Fleet, count: number): Promise<MachineRound> {
  const startMs = systemClock.monotonicMs()
  const made = await seconds(() => fleet.deploy(count))
  const bytes = (await spaceOf(join(fleet.pool, 'disks'))).bytes + (await spaceOf(join(fleet.pool, 'bases'))).bytes
  const running = await fleet.running(count)
  if (running.length !== Math.min(count, RUNNING)) throw new Error(`${running.length} run`)
  await fleet.all(running, async (at) => void (await fleet.run(at, 'hostname')))
  const reached = (systemClock.monotonicMs() - startMs) / 1000
  const gone = [...Array(count).keys()].filter((at) => at !== running[0])
  const deleted = await seconds(() => fleet.all(gone, (at) => fleet.do('DELETE', fleet.machineId(at))))
  await fleet.do('DELETE', fleet.machineId(must(running[0], 'One runs')))
  return { made, reached, deleted, bytes }
}

async function filesAlone(count: number): Promise<Readonly<{ ours: number; qemuImg: number }>> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-overlays-'))
  try {
    const base = join(folder, 'base.qcow2')
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', base, String(DISK_BYTES)])
    const paths = (word: string): string[] => Array.from({ length: count }, (_, i) => join(folder, `${word}${i}`))
    const ours = await seconds(async () => {
      for (const path of paths('a')) await createQcow2Overlay(path, DISK_BYTES, { path: base, format: 'qcow2' })
    })
    const qemuImg = await seconds(async () => {
      for (const path of paths('b'))
        await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', path])
    })
    return { ours, qemuImg }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function main(): Promise<void> {
  const [count = 200, rounds = 3] = process.argv.slice(2).map(Number)
  await using fleet = await Fleet.make(RUNNING)
  await prepareDisks(fleet)
  await fleet.prepare()
  const disks: Round[] = []
  const alone: { ours: number; qemuImg: number }[] = []
  const machines: MachineRound[] = []
  for (let i = 0; i < rounds; i += 1) {
    disks.push(await diskRound(fleet, count, i))
    alone.push(await filesAlone(count))
    machines.push(await machineRound(fleet, count))
  }
  const of = (pick: (one: Round) => number): number => median(disks.map(pick))
  const ofMachines = (pick: (one: MachineRound) => number): number => median(machines.map(pick))
  const lines = [
    `| ${count} disks from one image (${formatBytes(DISK_BYTES)}, ${formatBytes(DATA_BYTES)} of data), medians of ${rounds} | |`,
    '|---|--:|',
    `| the first disk: the base is made | ${of(({ first }) => first).toFixed(2)} s |`,
    `| ${count} more, over the API | ${of(({ others }) => others).toFixed(2)} s |`,
    `| their files alone, written and synced | ${median(alone.map(({ ours }) => ours)).toFixed(2)} s |`,
    `| the same by qemu-img | ${median(alone.map(({ qemuImg }) => qemuImg)).toFixed(2)} s |`,
    `| the base in the pool | ${formatBytes(of(({ baseBytes }) => baseBytes))} |`,
    `| each disk in the pool | ${formatBytes(of(({ overlayBytes }) => overlayBytes))} |`,
    '',
    `| ${count} machines from one image, with network cards; ${RUNNING} of them run | |`,
    '|---|--:|',
    `| all made, by one deployment | ${ofMachines(({ made }) => made).toFixed(2)} s |`,
    `| the agents of the ${RUNNING} answer | ${ofMachines(({ reached }) => reached).toFixed(2)} s |`,
    `| all but one deleted | ${ofMachines(({ deleted }) => deleted).toFixed(2)} s |`,
    `| base and disks of all in the pool | ${formatBytes(ofMachines(({ bytes }) => bytes))} |`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
}

await main()
