/**
 * What `holdfast repo serve` gives over NBD. The packs are in the page cache; client and server share the cores.
 *
 *   sequential, decoded   nbdcopy of the whole disk to nowhere, with its own defaults (several connections): the server's
 *                         cache is empty, so every chunk is read, opened, decompressed and checked
 *   sequential, cached    fio's nbd engine, 256 KiB and 16 in flight, round and round in a region that the cache holds
 *   random, cached        the same region, 4 KiB at random places, 16 in flight, one connection
 *
 * With each goes the server's CPU time, which depends less than the clock on what else the machine does. Reading at random over more than
 * the cache holds is not measured: each read then costs a decoded chunk.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { GIB, MIB, must } from '#base'
import { type BenchData, dataRuns } from './data.ts'
import { measure, run } from './measure.ts'
import { holdfast, STORE } from './tools/holdfast.ts'
import type { Place } from './tools/tool.ts'

type Rate = Readonly<{ perSecond: number; serverCpuSeconds: number }>

export type ServeResult = Readonly<{
  /** Bytes a second, and CPU seconds a GiB. */
  sequentialDecoded: Rate
  sequentialCached: Rate
  /** Reads a second, and CPU seconds for 100,000. */
  randomCached: Rate
}>

const LISTEN_MS_MAX = 30_000
/** Less than the server keeps decoded. */
const REGION_BYTES_MAX = 128 * MIB
const RUN_SECONDS = 5
const TICKS_PER_SECOND = 100

export async function measureServe(place: Place, data: BenchData): Promise<ServeResult> {
  const socket = join(place.target, 'nbd.sock')
  const { program, args, env } = holdfast(place, STORE, 'serve', 'latest', '--disk', '0', '--socket', socket)
  const server = spawn(program, args, { stdio: 'ignore', env: { ...process.env, ...env } })
  const exited = new Promise<void>((resolve) => void server.once('exit', () => resolve()))
  try {
    await Promise.race([untilListening(socket), exited.then(() => Promise.reject(new Error('The NBD server ended.')))])
    const uri = `nbd+unix:///?socket=${socket}`
    const pid = must(server.pid, 'It listens, hence it runs')
    const sequentialDecoded = await rated(pid, GIB, async () => {
      const copied = await measure({ program: 'nbdcopy', args: [uri, 'null:'] })
      return { done: data.allocatedBytes, seconds: copied.seconds }
    })
    const fio = await fioOnRegion(uri, data)
    await run({ program: 'fio', args: [...fio, '--rw=read', '--bs=1m', '--iodepth=4'] })
    const timed = ['--iodepth=16', '--time_based', `--runtime=${RUN_SECONDS}`]
    const sequentialCached = await rated(pid, GIB, async () => {
      const { io_bytes: done, runtime } = await read([...fio, '--rw=read', '--bs=256k', ...timed])
      return { done, seconds: runtime / 1000 }
    })
    const randomCached = await rated(pid, 100_000, async () => {
      const args = [...fio, '--rw=randread', '--bs=4k', '--norandommap', '--randseed=4', ...timed]
      const { total_ios: done, runtime } = await read(args)
      return { done, seconds: runtime / 1000 }
    })
    return { sequentialDecoded, sequentialCached, randomCached }
  } finally {
    server.kill('SIGTERM')
    await exited
  }
}

async function untilListening(socket: string): Promise<void> {
  for (let waitedMs = 0; !existsSync(socket); waitedMs += 20) {
    if (waitedMs > LISTEN_MS_MAX) throw new Error('The NBD server did not listen.')
    await delay(20)
  }
}

/** What was done a second, and the server's CPU time for `unit` of it. */
async function rated(
  pid: number,
  unit: number,
  work: () => Promise<Readonly<{ done: number; seconds: number }>>,
): Promise<Rate> {
  const before = cpuSecondsOf(pid)
  const { done, seconds } = await work()
  return { perSecond: done / seconds, serverCpuSeconds: ((cpuSecondsOf(pid) - before) / done) * unit }
}

/** User and system time of a process so far (proc(5), /proc/pid/stat, fields 14 and 15). */
function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

async function fioOnRegion(uri: string, data: BenchData): Promise<string[]> {
  const largest = (await dataRuns(data.changedImage)).reduce((a, b) => (b.length > a.length ? b : a))
  return [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--thread',
    '--readonly',
    `--offset=${largest.start}`,
    `--size=${Math.min(largest.length, REGION_BYTES_MAX)}`,
    '--output-format=json',
  ]
}

type FioRead = Readonly<{ io_bytes: number; total_ios: number; runtime: number }>

async function read(args: readonly string[]): Promise<FioRead> {
  const said = await run({ program: 'fio', args })
  const result = JSON.parse(said.slice(said.indexOf('{'))) as { jobs: { read: FioRead }[] }
  return must(result.jobs[0], 'fio ran one job').read
}
