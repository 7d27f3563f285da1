/**
 * The unit under a running systemd, installed as docs/configuration.md says: as the user holdfast, with all that the unit restricts.
 * A systemd of its own in new namespaces, so nothing of this machine is touched; wants root, and the legacy or hybrid cgroups
 * that a nested one can use. A micro-guest boots in it, so nothing else runs beside (tools/test-lanes.ts).
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Finding, Health } from '#server'
import { eventually } from '../rig/deadline.ts'
import { CACHE_FOLDER } from '../rig/micro-image.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const PROGRAM = '/opt/holdfast/bin/holdfast'
const READY_MS_MAX = 180_000
const AS_HOLDFAST = [
  'runuser',
  '-u',
  'holdfast',
  '--',
  'env',
  'HOLDFAST_HOME=/var/lib/holdfast',
  'TMPDIR=/var/lib/holdfast/tmp',
]
const INSTALL = `cp /opt/holdfast/install/systemd/holdfast.sysusers /usr/lib/sysusers.d/holdfast.conf && systemd-sysusers &&
  cp /opt/holdfast/install/systemd/holdfast-serve.service /etc/systemd/system/ && systemctl daemon-reload &&
  systemctl enable --now holdfast-serve`

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'it wants root'
  if (!existsSync('/lib/systemd/systemd')) return 'systemd is not installed'
  if (!existsSync('/sys/fs/cgroup/systemd'))
    return 'the cgroups of this machine are not those that a nested systemd can use'
  return false
}

let booted: ChildProcess | undefined
let folder = ''
let init = 0

/** The only child of a process. */
function childOf(pid: number): number | undefined {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return text === '' ? undefined : Number(text.split(' ')[0])
}

function inside(...command: string[]): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync('nsenter', ['-t', String(init), '-a', '-r', '-w', ...command], {
    encoding: 'utf8',
  })
  return { status, stdout: stdout.trim(), stderr }
}

function property(name: string): string {
  return inside('systemctl', 'show', '-p', name, '--value', 'holdfast-serve').stdout
}

function holdfast(...args: string[]): ReturnType<typeof inside> {
  return inside(...AS_HOLDFAST, PROGRAM, ...args)
}

/** Process ids. */
type Served = Readonly<{ serve: number; worker: number }>

async function served(): Promise<Served> {
  return eventually(
    'the server to answer',
    READY_MS_MAX,
    () => {
      const { status, stdout } = holdfast('status', '--output', 'json')
      if (status !== 0) return undefined
      const { pid, processes } = JSON.parse(stdout) as Health
      const worker = processes.find(({ name, health }) => name === 'worker' && health === 'well')?.identity?.pid
      return worker === undefined ? undefined : { serve: pid, worker }
    },
    1000,
  )
}

describe('the unit holdfast-serve under a running systemd', { skip: whyNot() }, () => {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hfsd-'))
    booted = spawn(join(import.meta.dirname, 'boot-systemd'), [ROOT, folder], { stdio: 'ignore' })
    init = await eventually('process 1', 30_000, () => childOf(booted?.pid ?? 0))
    await eventually(
      'systemd to have started',
      READY_MS_MAX,
      () => {
        const { stdout } = inside('systemctl', 'is-system-running')
        return ['running', 'degraded'].includes(stdout) ? stdout : undefined
      },
      500,
    )
    const installed = inside('sh', '-c', INSTALL)
    assert.equal(installed.status, 0, installed.stderr)
  })
  after(async () => {
    if (init > 0) process.kill(init, 'SIGKILL') // its namespace goes with it
    if (booted !== undefined && booted.exitCode === null) await new Promise((ended) => booted?.once('exit', ended))
    await rmdir(folder)
  })

  test('serves as its own user, and doctor finds a host that can have virtual networks', async () => {
    await served()
    assert.equal(property('ActiveState'), 'active')
    assert.equal(inside('ps', '-o', 'user=', '-p', property('MainPID')).stdout, 'holdfast')
    const { findings } = JSON.parse(holdfast('doctor', '--output', 'json').stdout) as {
      findings: readonly Finding[]
    }
    assert.deepEqual(
      findings.filter(({ severity }) => severity === 'failed'),
      [],
    )
    assert.equal(findings.find(({ check }) => check === 'virtual networks')?.severity, 'well')
  })

  test('runs a machine in a virtual network of its own under what the unit restricts', async () => {
    await served()
    const cache = '/var/lib/holdfast/tmp/cache'
    assert.equal(inside('sh', '-c', `cp -a "$0" ${cache} && chown -R holdfast: ${cache}`, CACHE_FOLDER).status, 0)
    const { status, stderr } = inside(...AS_HOLDFAST, `HOLDFAST_CACHE=${cache}`, PROGRAM, 'guest', 'build', 'micro')
    assert.equal(status, 0, stderr)
    for (const command of ['group create web -l eastus', 'machine create front -g web --image Micro']) {
      const made = holdfast(...command.split(' '))
      assert.equal(made.status, 0, made.stderr)
    }
    const said = await eventually('its agent', READY_MS_MAX, () => {
      const { status: code, stdout } = holdfast(...'machine run-command front -g web --script hostname'.split(' '))
      return code === 0 ? stdout : undefined
    })
    assert.match(said, /front/)
    assert.equal(holdfast(...'group delete web --yes'.split(' ')).status, 0)
  })

  test('starts a server that was killed again; its worker went on', async () => {
    const earlier = await served()
    const main = property('MainPID')
    inside('systemctl', 'kill', '-s', 'KILL', '--kill-whom=main', 'holdfast-serve')
    await eventually(
      'another server',
      READY_MS_MAX,
      () => (['0', main].includes(property('MainPID')) ? undefined : true),
      500,
    )
    const later = await served()
    assert.notEqual(later.serve, earlier.serve)
    assert.equal(later.worker, earlier.worker)
    assert.equal(property('NRestarts'), '1')
  })

  test('stops the server alone; the next one finds its worker, and stop --all ends both without a restart', async () => {
    const earlier = await served()
    assert.equal(inside('systemctl', 'stop', 'holdfast-serve').status, 0)
    assert.equal(inside('ps', '-o', 'user=', '-p', String(earlier.worker)).stdout, 'holdfast')
    assert.equal(inside('systemctl', 'start', 'holdfast-serve').status, 0)
    assert.equal((await served()).worker, earlier.worker)
    assert.equal(holdfast('stop', '--all').status, 0)
    await eventually(
      'the unit to have ended',
      60_000,
      () => (property('ActiveState') === 'inactive' ? true : undefined),
      500,
    )
    assert.equal(property('Result'), 'success')
    assert.notEqual(inside('ps', '-p', String(earlier.worker)).status, 0)
  })
})
