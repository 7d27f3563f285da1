/**
 * What `holdfast repo serve` gives over NBD: sequentially with nbdcopy to nowhere, and 4 KiB reads at random places with
 * fio's nbd engine, 16 in flight, over the largest run of data, which a first pass has warmed.
 */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { MIB } from '#base'
import { type BenchData, dataRuns } from './data.ts'
import { measure, run } from './measure.ts'
import { holdfast, STORE } from './tools/holdfast.ts'
import type { Place } from './tools/tool.ts'

export type ServeResult = Readonly<{ sequentialBytesPerSecond: number; randomReadsPerSecond: number }>

const LISTEN_MS_MAX = 30_000
const REGION_BYTES_MAX = 128 * MIB

export async function measureServe(place: Place, data: BenchData): Promise<ServeResult> {
  const socket = join(place.target, 'nbd.sock')
  const { program, args, env } = holdfast(place, STORE, 'serve', 'latest', '--disk', '0', '--socket', socket)
  const server = spawn(program, args, { stdio: 'ignore', env: { ...process.env, ...env } })
  const exited = new Promise<void>((resolve) => void server.once('exit', () => resolve()))
  try {
    await Promise.race([untilListening(socket), exited.then(() => Promise.reject(new Error('The NBD server ended.')))])
    const uri = `nbd+unix:///?socket=${socket}`
    const copied = await measure({ program: 'nbdcopy', args: [uri, 'null:'] })
    return {
      sequentialBytesPerSecond: data.allocatedBytes / copied.seconds,
      randomReadsPerSecond: await randomReads(uri, data),
    }
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

async function randomReads(uri: string, data: BenchData): Promise<number> {
  const largest = (await dataRuns(data.changedImage)).reduce((a, b) => (b.length > a.length ? b : a))
  const region = [`--offset=${largest.start}`, `--size=${Math.min(largest.length, REGION_BYTES_MAX)}`]
  const fio = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--thread',
    '--readonly',
    ...region,
    '--output-format=json',
  ]
  await run({ program: 'fio', args: [...fio, '--rw=read', '--bs=1m', '--iodepth=4'] })
  const random = [
    '--rw=randread',
    '--bs=4k',
    '--iodepth=16',
    '--time_based',
    '--runtime=5',
    '--norandommap',
    '--randseed=4',
  ]
  const said = await run({ program: 'fio', args: [...fio, ...random] })
  const result = JSON.parse(said.slice(said.indexOf('{'))) as { jobs: { read: { iops: number } }[] }
  return result.jobs[0]?.read.iops ?? Number.NaN
}
