/** Kills the owner of an instant around the scripts of its guest: the post-script runs all the same, and nothing is left. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import { toHex } from '#base'
import { findWatchdog, isGuestFrozen, openRunningInstant, recoverInstants, withAgent } from '#engine/hypervisor'
import { systemClock, systemRandom } from '#runtime'
import type { RunningGuest } from '../rig/guest-process.ts'
import { installScripts } from '../rig/guest-scripts.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { until } from './blank-machine.ts'
import { hostOf, machineOf } from './guest-machine.ts'
import type { OwnerRequest } from './instant-owner.ts'

const OWNER = join(import.meta.dirname, 'instant-owner.ts')
const ORDER = '/run/order'

let guest: RunningGuest

const isFrozen = (): Promise<boolean> =>
  withAgent(guest.paths.agent, { clock: systemClock, readyTimeoutMs: 5_000 }, isGuestFrozen)
const order = async (): Promise<string[]> => (await guest.run(`cat ${ORDER}`)).trim().split('\n')

function startOwner(dieAt: string) {
  const { clock: _clock, random: _random, ...host } = hostOf(guest)
  const tracking = { tracker: 'a1b2c3d4', next: toHex(systemRandom.bytes(6)), committed: {}, granularityBytes: 65_536 }
  const request: OwnerRequest = {
    machine: machineOf(guest),
    host: { ...host, watchdog: 'start' },
    tracking,
    dieAt,
    end: 'commit',
    consistency: 'application',
  }
  return spawn(process.execPath, [OWNER, JSON.stringify(request)], { stdio: ['ignore', 'ignore', 'inherit'] })
}

async function ownerDies(dieAt: string): Promise<void> {
  assert.deepEqual(await once(startOwner(dieAt), 'exit'), [null, 'SIGKILL'])
}

/** What the watchdog leaves to recovery are bitmaps; afterwards an instant can be taken as ever. */
async function recovers(): Promise<void> {
  const { clock, journalFolder } = hostOf(guest)
  await until('nothing is left', async () => {
    await recoverInstants({ clock, journalFolder, isCommitted: () => Promise.resolve(false) })
    return (await readdir(journalFolder)).every((name) => name.startsWith('watchdog'))
  })
  assert.ok(!(await isFrozen()))
  await guest.run(`: > ${ORDER}`)
  const instant = await openRunningInstant(hostOf(guest), machineOf(guest), {
    consistency: 'application',
    strict: true,
  })
  await instant.commit()
  assert.deepEqual(await order(), ['pre', 'pre-end', 'post'])
}

describe('Scripts of a guest whose backup is killed', () => {
  before(async () => {
    guest = await startMicroGuest({ disks: [{ sizeMib: 16 }] })
    await installScripts(guest, {
      pre: `echo pre >> ${ORDER}; [ ! -e /run/slow ] || sleep 60; echo pre-end >> ${ORDER}`,
      post: `echo post >> ${ORDER}`,
    })
  })
  after(() => guest.destroy())
  afterEach(async () => {
    const watchdog = await findWatchdog(systemClock, hostOf(guest).journalFolder)
    if (watchdog !== undefined) process.kill(watchdog.pid, 'SIGKILL')
  })

  for (const dieAt of ['quiesce.ran', 'quiesced', 'freeze.frozen', 'pause.inserted', 'thaw', 'wake', 'wake.ran']) {
    it(`at "${dieAt}": the watchdog thaws the guest and runs its post-script`, async () => {
      await guest.run(`: > ${ORDER}`)
      await ownerDies(dieAt)
      const diedMs = systemClock.monotonicMs()
      const ran = dieAt === 'wake.ran' ? ['post', 'post'] : ['post']
      const all = ['pre', 'pre-end', ...ran]
      await until('the post-script ran', async () => (await order().catch(() => [] as string[])).length >= all.length)
      console.log(`post-script ${(systemClock.monotonicMs() - diedMs).toFixed(0)} ms after death at ${dieAt}`)
      assert.deepEqual(await order(), all)
      await recovers()
    })
  }

  it('while the pre-script runs: that is ended, and then the post-script runs', async () => {
    await guest.run(`: > ${ORDER}; touch /run/slow`)
    const owner = startOwner('never')
    await until('the pre-script runs', async () => (await order()).includes('pre'))
    owner.kill('SIGKILL')
    await once(owner, 'exit')
    await until('the post-script ran', async () => (await order()).includes('post'))
    assert.deepEqual(await order(), ['pre', 'post'])
    assert.equal(await guest.run('ps | grep "[s]leep 60" || true'), '')
    await guest.run('rm /run/slow')
    await recovers()
  })

  it('once the instant is open: nothing is owed any more, and nothing is run', async () => {
    await guest.run(`: > ${ORDER}`)
    await ownerDies('open')
    const { clock, journalFolder } = hostOf(guest)
    await until('it is taken apart', async () => {
      await recoverInstants({ clock, journalFolder, isCommitted: () => Promise.resolve(false) })
      return (await readdir(journalFolder)).every((name) => name.startsWith('watchdog'))
    })
    assert.deepEqual(await order(), ['pre', 'pre-end', 'post'])
    await recovers()
  })

  it('with the agent silent for long: the post-script runs as soon as it answers again', async () => {
    await guest.run(`: > ${ORDER}`)
    // Silent for longer than the watchdog waits in one go, so that the instant is taken apart and only this is owed.
    await guest.run(`printf '#!/bin/sh\\necho pre >> ${ORDER}; echo pre-end >> ${ORDER}
(sleep 1; killall -STOP qemu-ga; sleep 25; killall -CONT qemu-ga) < /dev/null > /dev/null 2>&1 &\\n' > /etc/azure/silencing.sh
chmod 700 /etc/azure/silencing.sh
sed -i s/pre.sh/silencing.sh/ /etc/azure/VMSnapshotScriptPluginConfig.json`)
    const owner = startOwner('hang:quiesce.ran')
    await until('the pre-script ran', async () => (await order()).includes('pre-end'))
    await systemClock.sleep(2_000)
    owner.kill('SIGKILL')
    await once(owner, 'exit')
    await until('only the post-script is owed', async () => {
      const { journalFolder } = hostOf(guest)
      const names = (await readdir(journalFolder)).filter((name) => name.endsWith('.instant.json'))
      const texts = await Promise.all(names.map((name) => readFile(join(journalFolder, name), 'utf8')))
      return texts.some((text) => text.includes('"step":"dismantled"') && text.includes('"postScript"'))
    })
    await until('the post-script ran', async () => (await order().catch(() => [] as string[])).includes('post'), 60_000)
    await guest.run('sed -i s/silencing.sh/pre.sh/ /etc/azure/VMSnapshotScriptPluginConfig.json')
    await recovers()
  })
})
