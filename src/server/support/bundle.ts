/**
 * What somebody who helps needs to see of a home, as one archive: versions, settings, what doctor finds, how the processes
 * are, jobs without their inputs, the ends of the logs. No key, no catalog, no content of any disk; what is secret in the
 * home is taken out of every file once more.
 */
import { lstat, open, readdir } from 'node:fs/promises'
import { arch, cpus, release, totalmem, uptime } from 'node:os'
import { join } from 'node:path'
import { type Clock, isHoldfastError, isoTime, messageOf, MIB, PROGRAM_VERSION } from '#base'
import { replaceFile } from '#runtime'
import { configPath, readConfigFile } from '../config/config-file.ts'
import { configText } from '../config/write-config.ts'
import { openControl } from '../control-client.ts'
import { diagnose } from '../doctor/doctor.ts'
import type { Home } from '../home.ts'
import { secretsOf, withoutSecrets } from './secrets.ts'
import { tarOf } from './tar.ts'

const LOG_BYTES_MAX = 2 * MIB
const JOBS_MAX = 200

const READ_ME = `A support bundle of Holdfast. It holds no key, no secret and no content of a disk; it does hold names:
of machines, disks, regions, folders of this host and addresses. Look through it before you give it away.
`

type Texts = Map<string, string>

/** The end of a file. */
async function tail(path: string): Promise<string> {
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    const length = Math.min(size, LOG_BYTES_MAX)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length)
    return buffer.subarray(0, bytesRead).toString('utf8')
  } finally {
    await handle.close()
  }
}

async function addLogs(texts: Texts, home: Home): Promise<void> {
  const folder = join(home.folder, 'log')
  for (const name of (await readdir(folder)).sort())
    if ((await lstat(join(folder, name))).isFile()) texts.set(`log/${name}`, await tail(join(folder, name)))
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`
}

/** What only a server that runs can say. */
async function addServed(texts: Texts, home: Home): Promise<void> {
  const control = await openControl(home)
  try {
    texts.set('status.json', json(await control.call('health')))
    texts.set('jobs.json', json(await control.call('job.list', { limit: JOBS_MAX })))
    for (const kind of ['region', 'host', 'pool', 'store'])
      texts.set(`${kind}s.json`, json(await control.call(`${kind}.list`, {})))
  } finally {
    control.close()
  }
}

async function collect(home: Home, clock: Clock): Promise<Texts> {
  const texts: Texts = new Map([['README.txt', READ_ME]])
  const system = {
    arch: arch(),
    kernel: release(),
    cpus: cpus().length,
    memoryBytes: totalmem(),
    uptimeSeconds: uptime(),
  }
  const program = { version: PROGRAM_VERSION, node: process.versions.node, madeAt: isoTime(clock.nowMs()), ...system }
  texts.set('program.json', json(program))
  try {
    texts.set('settings.yaml', configText(await readConfigFile(configPath(home)), true))
  } catch (error) {
    texts.set('settings.txt', messageOf(error))
  }
  texts.set('doctor.json', json(await diagnose(home, clock)))
  try {
    await addServed(texts, home)
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    texts.set('server.txt', `${error.message} (${error.code})\n`)
  }
  await addLogs(texts, home)
  return texts
}

/** Writes the archive (mode 0600), whole or not at all. Gives the names in it. */
export async function writeSupportBundle(
  home: Home,
  clock: Clock,
  target: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  const texts = await collect(home, clock)
  const secrets = await secretsOf(home.folder, environment)
  const files = Array.from(texts, ([name, text]) => ({
    name: `holdfast-support/${name}`,
    bytes: new TextEncoder().encode(withoutSecrets(text, secrets)),
  }))
  await replaceFile(target, tarOf(files, Math.floor(clock.nowMs() / 1000)))
  return files.map(({ name }) => name)
}
