/** A post-script that is owed to a guest: it is run once its time has come, whoever holds the instant, and never amid another. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { type Instant, type OpenInstantOptions, openRunningInstant, recoverInstants } from '#engine/hypervisor'
import { identityOf, systemClock } from '#runtime'
import { InstantJournal, type RunningRecord } from '../../src/engine/hypervisor/instant/journal.ts'
import { Watchdog } from '../../src/engine/hypervisor/instant/watchdog.ts'
import type { RunningGuest } from '../rig/guest-process.ts'
import { type GuestScripts, installScripts } from '../rig/guest-scripts.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { until } from './blank-machine.ts'
import { hostOf, machineOf } from './guest-machine.ts'

const ORDER = '/run/order'
const POST = { path: '/etc/azure/post.sh', args: ['after'], timeoutMs: 30_000, retries: 0, pollMsMax: 1_000 }
const NOBODY = { pid: 0, startTicks: '', bootId: '' }

let guest: RunningGuest

const order = async (): Promise<string[]> => (await guest.run(`cat ${ORDER}`)).trim().split('\n')
const install = (scripts: GuestScripts): Promise<void> =>
  installScripts(guest, { pre: `echo pre >> ${ORDER}`, post: `echo post >> ${ORDER}`, ...scripts })

function open(onStep: (step: string) => Promise<void>, options: Partial<OpenInstantOptions> = {}): Promise<Instant> {
  return openRunningInstant({ ...hostOf(guest), onStep }, machineOf(guest), { consistency: 'application', ...options })
}

const nothing = (): Promise<void> => Promise.resolve()
const journalOf = (): InstantJournal => new InstantJournal(hostOf(guest).journalFolder)
const recover = () => recoverInstants({ ...hostOf(guest), isCommitted: () => Promise.resolve(false) })

/** What an instant leaves whose guest's agent was silent to the end. */
function owed(id: string, change: Partial<RunningRecord> = {}): RunningRecord {
  const { description, sockets } = machineOf(guest)
  return {
    schema: 1,
    kind: 'running',
    id,
    machine: description.name,
    machineUuid: description.uuid,
    owner: NOBODY,
    step: 'dismantled',
    access: sockets,
    wasRunning: true,
    postScript: POST,
    disks: [],
    nbdSocketPath: join(guest.paths.folder, 'none.sock'),
    tracking: undefined,
    ...change,
  }
}

/** Looks as the watchdog's process does, until `work` is over. */
async function watched(work: Promise<unknown>): Promise<string[]> {
  const did: string[] = []
  const watchdog = new Watchdog({
    clock: systemClock,
    journalFolder: hostOf(guest).journalFolder,
    report: (report) => did.push(report.did),
    endProcess: (pid) => did.push(`would end ${pid}`),
  })
  const state = { isOver: false }
  const over = work.finally(() => (state.isOver = true))
  while (!state.isOver) {
    await watchdog.look()
    await systemClock.sleep(100)
  }
  await over
  return did
}

describe('A post-script that is owed', () => {
  before(async () => {
    guest = await startMicroGuest({ disks: [{ sizeMib: 16 }] })
  })
  after(() => guest.destroy())
  beforeEach(() => guest.run(`: > ${ORDER}`))

  it('runs for as long as the guest allows when its instant fails in the pause: the watchdog does not end the owner', async () => {
    // The pause may take 3 seconds, the script 30.
    await install({ post: `sleep 6; echo post >> ${ORDER}`, settings: { fsFreezeEnabled: false } })
    const failing = open((step) => (step === 'pause.inserted' ? Promise.reject(new Error('no more')) : nothing()))
    assert.deepEqual(await watched(assert.rejects(failing, { message: 'no more' })), [])
    assert.deepEqual(await order(), ['pre', 'post'])
    assert.deepEqual(await journalOf().ids(), [])
  })

  it('is owed still when the agent could not begin it, and is run as soon as it can', async () => {
    await install({})
    const hide =
      'until [ -e /run/hide ]; do sleep 0.2; done; mv /bin/sh /bin/away; until [ -e /run/back ]; do sleep 0.2; done'
    await guest.start(`${hide}; mv /bin/away /bin/sh; rm /run/hide /run/back`)
    // Nothing can be run in the guest from when it is to be woken, until a while after the backup.
    const instant = await open(async (step) => {
      if (step !== 'wake') return
      await guest.run('touch /run/hide; (sleep 8; touch /run/back) < /dev/null > /dev/null 2>&1 &')
      await until('nothing can be run', () =>
        guest.run('true').then(
          () => false,
          () => true,
        ),
      )
    })
    await instant.abort('seen')
    assert.deepEqual([instant.consistency, instant.reasons], ['filesystem', ['Post-ScriptExecutionFailed']])
    assert.deepEqual(await journalOf().ids(), [instant.id], 'It is owed')
    await until('it is paid', async () => {
      await recover()
      return (await journalOf().ids()).length === 0
    })
    assert.deepEqual(await order(), ['pre', 'post'])
  })

  it('is not run amid another instant of the machine, but after it; that one runs no scripts', async () => {
    await install({})
    await journalOf().create(owed('aaaaaaaa'))
    await assert.rejects(open(nothing, { strict: true }), { code: 'quiesce_failed' })
    const instant = await open(nothing)
    assert.deepEqual([instant.consistency, instant.reasons], ['filesystem', ['Pre-ScriptExecutionFailed']])
    assert.match(instant.notes.join(), /still waits for the post-script of an earlier backup/)
    assert.deepEqual(await watched(systemClock.sleep(4_000)), [])
    await recover()
    assert.deepEqual(await order(), [''], 'Not yet')
    await instant.abort('seen')
    const paid = until('it is paid', async () => (await journalOf().ids()).length === 0)
    assert.deepEqual(await watched(paid), ['ran_post_script'])
    assert.deepEqual(await order(), ['post'])
  })

  it('ends with the QEMU of its guest: another guest at the same sockets is not bothered', async () => {
    await install({})
    const own = identityOf()
    assert.ok(own !== undefined)
    await journalOf().create(owed('bbbbbbbb', { guestProcess: { ...own, startTicks: '1' } }))
    const gone = until('it is gone', async () => (await journalOf().ids()).length === 0)
    assert.deepEqual(await watched(gone), ['ran_post_script'])
    assert.deepEqual(await order(), [''])
  })

  it('of one machine does not keep the recovery of others', async () => {
    await install({ post: `sleep 8; echo post >> ${ORDER}` })
    const { access } = owed('x')
    const elsewhere = { ...access, qmpSocketPath: join(guest.paths.folder, 'gone.sock') }
    await journalOf().create(owed('cccccccc'))
    await journalOf().create(owed('dddddddd', { machineUuid: 'another', access: elsewhere }))
    const recovering = recover()
    await until('the other one is recovered', async () => !(await journalOf().ids()).includes('dddddddd'))
    assert.deepEqual(await journalOf().ids(), ['cccccccc'], 'The long script runs still')
    await recovering
    assert.deepEqual(await order(), ['post'])
    assert.deepEqual(await readdir(hostOf(guest).journalFolder), [])
  })
})
