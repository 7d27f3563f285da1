/**
 * A real S3 server for tests: one Ceph monitor, one OSD on a sparse file, one RADOS Gateway, on loopback, in a folder that
 * is removed afterwards. Needs the packages radosgw, ceph-mon, ceph-osd and ceph-common, and root. Starts in about 20 s.
 * The gateway is stopped first: without its OSD it would hang.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { checkCommand, runCommand } from '#runtime'
import { eventually } from '../rig/deadline.ts'

export type Rgw = Readonly<{
  endpoint: string
  accessKey: string
  secretKey: string
  stop(): Promise<void>
}>

const PROGRAMS = ['radosgw', 'ceph-mon', 'ceph-osd', 'ceph', 'radosgw-admin', 'monmaptool']
const START_MS_MAX = 120_000
const STOP_MS_MAX = 20_000

/** Why the server cannot run here, or undefined when it can. */
export function rgwMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'a Ceph gateway is started as root only'
  const missing = PROGRAMS.filter(
    (name) => !['/usr/bin', '/bin', '/usr/local/bin'].some((d) => existsSync(join(d, name))),
  )
  return missing.length === 0
    ? undefined
    : `missing: ${missing.join(', ')} (apt-get install radosgw ceph-mon ceph-osd ceph-common)`
}

export async function startRgw(): Promise<Rgw> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-rgw-'))
  const children: ChildProcess[] = []
  const killAll = (): void => children.forEach((child) => child.kill('SIGKILL'))
  process.once('exit', killAll)
  const stop = async (): Promise<void> => {
    for (const child of [...children].reverse()) await stopChild(child)
    process.removeListener('exit', killAll)
    await rm(folder, { recursive: true, force: true })
  }
  try {
    return { ...(await startAll(folder, children)), stop }
  } catch (error) {
    const said = await lastWords(join(folder, 'log'))
    await stop()
    throw new Error(`The gateway could not be started. ${said}`, { cause: error })
  }
}

/** The ends of the logs: the folder is removed, and with it all that could tell what went wrong. */
async function lastWords(logFolder: string): Promise<string> {
  const names = (await readdir(logFolder)).filter((name) => name !== 'cluster.log')
  const texts = await Promise.all(names.map((name) => readFile(join(logFolder, name), 'utf8')))
  return names.map((name, i) => `\n== ${name}\n${(texts[i] ?? '').slice(-1500)}`).join('')
}

async function startAll(folder: string, children: ChildProcess[]): Promise<Omit<Rgw, 'stop'>> {
  const [monPort, rgwPort] = [await freePort(), await freePort()]
  const conf = join(folder, 'ceph.conf')
  for (const name of ['mon', 'osd', 'run', 'log']) await mkdir(join(folder, name))
  await writeFile(join(folder, 'keyring'), '')
  const fsid = randomUUID()
  await writeFile(conf, configuration(folder, fsid, monPort, rgwPort))
  const run = (name: string, ...args: string[]): Promise<unknown> =>
    checkCommand(name, args, { cwd: folder, timeoutMs: START_MS_MAX })
  /** A monitor that has just started refuses now and then; all that is asked of it here can be repeated. */
  const ceph = async (...args: string[]): Promise<string> => {
    return eventually(`ceph ${args.join(' ')}`, START_MS_MAX, async () => {
      const result = await runCommand('ceph', ['-c', conf, ...args], { timeoutMs: START_MS_MAX })
      return result.exitCode === 0 ? result.stdout.toString('utf8') : undefined
    })
  }
  const start = (name: string, ...args: string[]): void => {
    const log = openSync(join(folder, 'log', `${name}.out`), 'a')
    children.push(spawn(name, [...args, '-c', conf, '-f'], { cwd: folder, stdio: ['ignore', log, log] }))
    closeSync(log)
  }
  const monmap = join(folder, 'monmap')
  await run('monmaptool', '--create', '--clobber', '--fsid', fsid, '--addv', 'a', `[v1:127.0.0.1:${monPort}]`, monmap)
  await run('ceph-mon', '--mkfs', '-i', 'a', '--monmap', monmap, '-c', conf)
  start('ceph-mon', '-i', 'a')
  await eventually('the Ceph monitor to listen', START_MS_MAX, () => canConnect(monPort))
  const osd = randomUUID()
  await ceph('osd', 'new', osd)
  await run('ceph-osd', '-i', '0', '-c', conf, '--mkfs', '--osd-uuid', osd)
  await ceph('osd', 'crush', 'add', 'osd.0', '1.0', 'root=default', 'host=local')
  start('ceph-osd', '-i', '0')
  await eventually('the Ceph OSD to be up', START_MS_MAX, async () => {
    return (await ceph('osd', 'stat')).includes('1 up') || undefined
  })
  start('radosgw', '-n', 'client.rgw', '--setuser', 'root', '--setgroup', 'root')
  await eventually('the gateway to listen', START_MS_MAX, () => canConnect(rgwPort))
  const [accessKey, secretKey] = ['holdfasttest', randomUUID()]
  const keys = [`--access-key=${accessKey}`, `--secret=${secretKey}`]
  await run('radosgw-admin', '-c', conf, 'user', 'create', '--uid=test', '--display-name=test', ...keys)
  return { endpoint: `http://127.0.0.1:${rgwPort}`, accessKey, secretKey }
}

function configuration(folder: string, fsid: string, monPort: number, rgwPort: number): string {
  return `[global]
fsid = ${fsid}
mon host = v1:127.0.0.1:${monPort}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
osd pool default pg num = 8
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
run dir = ${folder}/run
log file = ${folder}/log/$name.log
admin socket = ${folder}/run/$name.asok
keyring = ${folder}/keyring
[mon]
mon data = ${folder}/mon
mon cluster log file = ${folder}/log/cluster.log
[osd]
osd data = ${folder}/osd
osd objectstore = bluestore
bluestore block size = 32212254720
osd memory target = 939524096
osd op queue = wpq
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:${rgwPort}
rgw dns name = localhost
rgw thread pool size = 64
`
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => void server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('A listening server has a port')
  return address.port
}

function canConnect(port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => resolve(true)).on('error', () => resolve(undefined))
    socket.on('connect', () => socket.destroy())
  })
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = new Promise((resolve) => void child.once('exit', resolve))
  child.kill('SIGTERM')
  const impatience = setTimeout(() => void child.kill('SIGKILL'), STOP_MS_MAX)
  await exited
  clearTimeout(impatience)
}
