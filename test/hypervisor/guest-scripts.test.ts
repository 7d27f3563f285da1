import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { isHoldfastError } from '#base'
import {
  type ConsistencyReason,
  type Instant,
  isObject,
  type OpenInstantOptions,
  openRunningInstant,
  openTogether,
} from '#engine/hypervisor'
import { checkCommand } from '#runtime'
import type { RunningGuest } from '../rig/guest-process.ts'
import { type GuestScripts, installScripts, POST_SCRIPT, PRE_SCRIPT, SETTINGS_FILE } from '../rig/guest-scripts.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { until } from './blank-machine.ts'
import { hostOf, machineOf } from './guest-machine.ts'

const ORDER = '/run/order'
const HOOK = '/etc/qemu/fsfreeze-hook.d/50-test'
const PRE = `echo "pre $1" >> ${ORDER}; echo quiet > /data/b/state; sync`
const POST = `echo "post $1" >> ${ORDER}; echo awake > /data/b/state; sync`

let guest: RunningGuest

async function open(options: Partial<OpenInstantOptions> = {}): Promise<Instant> {
  return openRunningInstant(hostOf(guest), machineOf(guest), { consistency: 'application', ...options })
}

/** Opens and gives up an instant: what it says is what counts. */
async function take(options: Partial<OpenInstantOptions> = {}) {
  const instant = await open(options)
  await instant.abort('seen')
  const { consistency, reasons, notes, freezeMs } = instant
  return { consistency, reasons, notes: notes.join(' '), freezeMs }
}

const order = async (): Promise<string[]> => (await guest.run(`cat ${ORDER}; : > ${ORDER}`)).trim().split('\n')
const install = (scripts: GuestScripts): Promise<void> => installScripts(guest, { pre: PRE, post: POST, ...scripts })

async function nothingIsLeft(): Promise<void> {
  assert.deepEqual(await readdir(join(guest.paths.folder, 'journal')), [])
  assert.equal(await guest.run('ls /run/holdfast | grep pid || true'), '')
}

describe('Pre- and post-scripts of a guest', () => {
  before(async () => {
    guest = await startMicroGuest({ disks: [{ sizeMib: 64, format: 'raw' }] })
    await guest.run(
      `mke2fs -q /dev/vdb; mkdir -p /data/b; mount /dev/vdb /data/b; : > ${ORDER}
printf '#!/bin/sh\\necho $1 >> ${ORDER}\\n' > ${HOOK}; chmod +x ${HOOK}`,
    )
  })
  after(() => guest.destroy())
  beforeEach(() => guest.run(`: > ${ORDER}`))

  it('run around the freeze, with their parameters, and make the instant application-consistent', async () => {
    await install({})
    const instant = await open({ strict: true })
    assert.deepEqual([instant.consistency, instant.reasons], ['application', []])
    assert.deepEqual(await order(), ['pre before', 'freeze', 'thaw', 'post after'])
    const source = instant.disks[1]?.source
    assert.ok(source?.kind === 'nbd')
    const copy = join(guest.paths.folder, 'copy')
    await checkCommand('nbdcopy', [`nbd+unix:///${source.exportName}?socket=${source.socketPath}`, copy])
    const state = await checkCommand('debugfs', ['-R', 'cat /state', copy])
    assert.equal(state.stdout.toString(), 'quiet\n', 'The instant lies between the scripts')
    await instant.commit()
    await nothingIsLeft()
  })

  it('are not run for less, and the guest is not touched for a crash', async () => {
    await install({})
    assert.equal((await take({ consistency: 'crash', strict: true })).consistency, 'crash')
    assert.deepEqual(await order(), [''])
    assert.deepEqual((await take({ consistency: 'filesystem', strict: true })).reasons, [])
    assert.deepEqual(await order(), ['freeze', 'thaw'])
  })

  it('that were not installed leave a guest with freeze hooks application-consistent, one without file-system-consistent', async () => {
    await guest.run('rm -rf /etc/azure')
    assert.deepEqual((await take({ strict: true })).consistency, 'application')
    await guest.run('mv /etc/qemu/fsfreeze-hook.d /etc/qemu/aside')
    const bare = await take()
    const strict = open({ strict: true })
    await assert.rejects(strict, { code: 'quiesce_failed', facts: { reason: 'no_scripts' } })
    await guest.run('mv /etc/qemu/aside /etc/qemu/fsfreeze-hook.d')
    assert.deepEqual([bare.consistency, bare.reasons], ['filesystem', ['no_scripts']])
    assert.match(bare.notes, /no pre- and post-scripts/)
    assert.ok(bare.freezeMs > 0)
  })

  const failures: readonly (readonly [string, GuestScripts, string, readonly ConsistencyReason[], string[]])[] = [
    [
      'A pre-script that fails is tried again, then the point is one of file systems; the post-script runs',
      { pre: `echo try >> ${ORDER}; echo "no room" >&2; exit 3`, settings: { preScriptNoOfRetries: 2 } },
      'filesystem',
      ['Pre-ScriptExecutionFailed'],
      ['try', 'try', 'try', 'freeze', 'thaw', 'post after'],
    ],
    [
      'A pre-script that takes too long is ended with all that it began; the post-script runs',
      { pre: `(sleep 77 & sleep 77); echo late >> ${ORDER}`, settings: { timeoutInSeconds: 2 } },
      'filesystem',
      ['Pre-ScriptTimeout'],
      ['freeze', 'thaw', 'post after'],
    ],
    [
      'A post-script that fails makes it a point of file systems',
      { post: `echo post >> ${ORDER}; exit 1`, settings: { postScriptNoOfRetries: 1 } },
      'filesystem',
      ['Post-ScriptExecutionFailed'],
      ['pre before', 'freeze', 'thaw', 'post', 'post'],
    ],
    [
      'A post-script that takes too long is ended',
      { post: 'sleep 78', settings: { timeoutInSeconds: 2 } },
      'filesystem',
      ['Post-ScriptTimeout'],
      ['pre before', 'freeze', 'thaw'],
    ],
    [
      'Exit code 2 is success with a warning, as with Azure',
      { pre: `${PRE}; exit 2`, post: `${POST}; exit 2` },
      'application',
      [],
      ['pre before', 'freeze', 'thaw', 'post after'],
    ],
    [
      'Without freezing the scripts alone make it application-consistent',
      { settings: { fsFreezeEnabled: false } },
      'application',
      [],
      ['pre before', 'post after'],
    ],
    [
      'Without freezing and with a script that fails it is a crash, and says both',
      { pre: 'exit 1', settings: { fsFreezeEnabled: false } },
      'crash',
      ['Pre-ScriptExecutionFailed', 'freeze_disabled'],
      ['post after'],
    ],
  ]
  for (const [what, scripts, consistency, reasons, ran] of failures) {
    it(what, async () => {
      await install(scripts)
      const taken = await take()
      assert.deepEqual([taken.consistency, taken.reasons], [consistency, reasons])
      assert.deepEqual(await order(), ran)
      assert.equal(await guest.run('ps | grep "[s]leep 7" || true'), '')
      await nothingIsLeft()
    })
  }

  it('that fail end the backup where the guest or the caller wants it so, and the post-script runs all the same', async () => {
    for (const [settings, strict] of [
      [{ continueBackupOnFailure: false }, false],
      [{ continueBackupOnFailure: true }, true],
    ] as const) {
      await install({ pre: 'echo "disk full"; exit 9', settings })
      await assert.rejects(open({ strict }), (error: unknown) => {
        assert.ok(isHoldfastError(error, 'quiesce_failed'))
        assert.equal(error.facts['reason'], 'Pre-ScriptExecutionFailed')
        assert.match(error.message, /exit code 9.*disk full/)
        return true
      })
      assert.deepEqual(await order(), ['post after'])
      await nothingIsLeft()
    }
    await install({ post: `echo post >> ${ORDER}; exit 1`, settings: { continueBackupOnFailure: false } })
    await assert.rejects(open(), { code: 'quiesce_failed', facts: { reason: 'Post-ScriptExecutionFailed' } })
    assert.deepEqual(await order(), ['pre before', 'freeze', 'thaw', 'post'])
    await nothingIsLeft()
  })

  const unfit: readonly (readonly [string, ConsistencyReason])[] = [
    [`rm ${PRE_SCRIPT}`, 'Pre-ScriptNotFound'],
    [`rm ${POST_SCRIPT}`, 'Post-ScriptNotFound'],
    [`chmod 755 ${PRE_SCRIPT}`, 'InsufficientPermissionforPre-Script'],
    [`chown 7 ${POST_SCRIPT}`, 'InsufficientPermissionforPost-Script'],
    [`chmod 644 ${SETTINGS_FILE}`, 'FailedPrepostPluginConfigPermissionError'],
    [`chown 7 ${SETTINGS_FILE}`, 'FailedPrepostPluginConfigOwnershipError'],
    [`echo '{' > ${SETTINGS_FILE}`, 'IncorrectJSONConfigFile'],
  ]
  for (const [command, reason] of unfit) {
    it(`that may not be run are not: ${reason}`, async () => {
      await install({})
      await guest.run(command)
      const taken = await take()
      assert.deepEqual([taken.consistency, taken.reasons], ['filesystem', [reason]])
      assert.deepEqual(await order(), ['freeze', 'thaw'])
    })
  }

  it('may leave a program behind that holds a lock until the post-script ends it', async () => {
    const holder = 'sleep 999 & echo $! > /run/holder; exit 0'
    await install({ pre: `${PRE}; ${holder}`, post: `kill "$(cat /run/holder)" && echo released >> ${ORDER}` })
    assert.deepEqual((await take({ strict: true })).reasons, [])
    assert.deepEqual(await order(), ['pre before', 'freeze', 'thaw', 'released'])
  })

  it('leave mounts alone that are to be skipped: they are written to while all others are frozen', async () => {
    await install({})
    await guest.run(`printf '[SnapshotThread]\\nMountsToSkip = /data/b\\n' > /etc/azure/vmbackup.conf`)
    await guest.start('while [ ! -e /run/stop ]; do echo x >> /data/b/log; sync -d /data/b/log; done')
    const writesTo = (at: number): Promise<number> =>
      guest.rig(async (qmp) => {
        const drives = (await qmp.execute('query-blockstats')) as unknown[]
        const drive = drives[at]
        assert.ok(isObject(drive) && isObject(drive['stats']))
        return Number(drive['stats']['wr_operations'])
      })
    let written = 0
    const host = {
      ...hostOf(guest),
      onStep: async (step: string) => {
        if (step !== 'freeze.frozen') return
        const before = [await writesTo(0), await writesTo(1)] as const
        await until('the skipped mount is written to', async () => (await writesTo(1)) > before[1] + 10)
        written = (await writesTo(0)) - before[0]
      },
    }
    const instant = await openRunningInstant(host, machineOf(guest), { consistency: 'application' })
    await instant.abort('seen')
    await guest.run('touch /run/stop')
    assert.equal(written, 0, 'The root was frozen')
    assert.deepEqual([instant.consistency, instant.reasons], ['application', ['mounts_skipped']])
    assert.match(instant.notes.join(), /\/data\/b/)
  })

  it('make it application-consistent alone where vmbackup.conf forbids freezing, and no weaker point passes as one', async () => {
    await install({})
    await guest.run(`printf '[SnapshotThread]\\nfsfreeze = no\\n' > /etc/azure/vmbackup.conf`)
    const taken = await take({ strict: true })
    assert.deepEqual([taken.consistency, taken.reasons], ['application', []])
    assert.deepEqual(await order(), ['pre before', 'post after'])
    const files = open({ consistency: 'filesystem', strict: true })
    await assert.rejects(files, { code: 'quiesce_failed', facts: { reason: 'freeze_disabled' } })
  })

  it('of two machines end both before either is frozen, at one instant', async () => {
    await using other = await startMicroGuest({ name: 'other', disks: [{ sizeMib: 16 }] })
    await install({})
    await installScripts(other, { pre: 'sleep 3', post: 'touch /run/post' })
    const machines = [guest, other].map((one) => ({
      machine: { ...machineOf(one), description: { ...machineOf(one).description, uuid: one.name } },
      options: { consistency: 'application', strict: true } as const,
    }))
    const steps: string[] = []
    const host = { ...hostOf(guest), onStep: async (step: string) => Promise.resolve(void steps.push(step)) }
    const { instants, skewMs } = await openTogether(host, machines)
    console.log(`two machines with scripts: skew ${skewMs.toFixed(1)} ms`)
    for (const instant of instants) await instant.abort('seen')
    assert.equal(steps.filter((step) => step === 'freeze.frozen').length, 2)
    assert.ok(steps.lastIndexOf('quiesce.ran') < steps.indexOf('freeze'), 'Nobody waits frozen for a script')
    await other.run('test -e /run/post')
  })
})
