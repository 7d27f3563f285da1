import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { toHex } from '#base'
import { checkCommand, systemClock, systemRandom } from '#runtime'
import { findWatchdog, isGuestFrozen, openRunningInstant, recoverInstants, withAgent } from '#engine/hypervisor'
import type { RunningGuest } from '../rig/guest-process.ts'
import { startMicroGuest } from '../rig/micro-guest.ts'
import { until } from './blank-machine.ts'
import { hostOf, machineOf } from './guest-machine.ts'
import type { OwnerRequest } from './instant-owner.ts'

const OWNER = join(import.meta.dirname, 'instant-owner.ts')
const HOOK = '/etc/qemu/fsfreeze-hook.d/50-test'

const isFrozen = (guest: RunningGuest): Promise<boolean> =>
  withAgent(guest.paths.agent, { clock: systemClock, readyTimeoutMs: 5_000 }, isGuestFrozen)

describe('An instant of a machine with a guest', () => {
  let guest: RunningGuest
  before(async () => {
    guest = await startMicroGuest({ disks: [{ sizeMib: 64 }, { sizeMib: 64, format: 'raw' }] })
    await guest.run('mkfs.ext4 -q /dev/vdb || mke2fs -q /dev/vdb; mkdir -p /data/b; mount /dev/vdb /data/b')
  })
  after(() => guest.destroy())

  it('is consistent for file systems and applications: the hook ran, the guest froze and goes on', async () => {
    await guest.run('echo before-freeze > /data/b/note')
    const instant = await openRunningInstant(hostOf(guest), machineOf(guest), {
      consistency: 'application',
      strict: true,
    })
    assert.equal(instant.consistency, 'application')
    assert.deepEqual(instant.notes, [])
    assert.ok(!(await isFrozen(guest)))
    assert.ok(instant.freezeMs > 0 && instant.freezeMs > instant.pauseMs)
    console.log(`three disks: paused ${instant.pauseMs.toFixed(1)} ms, frozen ${instant.freezeMs.toFixed(1)} ms`)
    await guest.run('echo after > /data/b/note; sync')
    // The copy is a file system that was closed properly: it needs no repair and holds the note of before.
    const source = instant.disks[1]?.source
    assert.ok(source?.kind === 'nbd')
    const copy = join(guest.paths.folder, 'copy')
    await checkCommand('nbdcopy', [`nbd+unix:///${source.exportName}?socket=${source.socketPath}`, copy])
    const note = await checkCommand('debugfs', ['-R', 'cat /note', copy])
    assert.equal(note.stdout.toString(), 'before-freeze\n')
    await instant.commit()
  })

  it('has the guest write back before it freezes, so that the freeze need not', async () => {
    await guest.run(
      `mkdir -p $(dirname ${HOOK}); printf '#!/bin/sh\\n[ "$1" != freeze ] || grep ^Dirty: /proc/meminfo > /run/dirty-at-freeze\\n' > ${HOOK}; chmod +x ${HOOK}`,
    )
    await guest.run('dd if=/dev/zero of=/data/b/dirty bs=1M count=24 2>/dev/null')
    const instant = await openRunningInstant(hostOf(guest), machineOf(guest), {
      consistency: 'filesystem',
      strict: true,
    })
    await instant.commit()
    const dirtyKib = Number(/\d+/.exec(await guest.run('cat /run/dirty-at-freeze'))?.[0])
    assert.ok(dirtyKib < 4_096, `${dirtyKib} KiB were left for the freeze to write back`)
    await guest.run(`rm ${HOOK} /data/b/dirty; sync`)
  })

  it('is only crash-consistent, and says why, when a hook fails; or fails if that was asked for', async () => {
    await guest.run(
      `mkdir -p $(dirname ${HOOK}); printf '#!/bin/sh\\n[ "$1" != freeze ]\\n' > ${HOOK}; chmod +x ${HOOK}`,
    )
    const instant = await openRunningInstant(hostOf(guest), machineOf(guest), { consistency: 'application' })
    assert.equal(instant.consistency, 'crash')
    assert.match(instant.notes.join(), /Only crash-consistent: The guest could not freeze/)
    await instant.abort('seen')
    const strict = openRunningInstant(hostOf(guest), machineOf(guest), { consistency: 'application', strict: true })
    await assert.rejects(strict, { code: 'freeze_failed' })
    assert.ok(!(await isFrozen(guest)))
    await guest.run(`rm ${HOOK}; echo still-writable > /data/b/x; sync`)
    assert.deepEqual(await readdir(join(guest.paths.folder, 'journal')), [])
  })

  it('is only crash-consistent when the agent is silent', async () => {
    const machine = machineOf(guest)
    const sockets = { ...machine.sockets, agentSocketPath: join(guest.paths.folder, 'no-agent') }
    const instant = await openRunningInstant(hostOf(guest), { ...machine, sockets }, { consistency: 'filesystem' })
    assert.equal(instant.consistency, 'crash')
    assert.match(instant.notes.join(), /agent does not answer/)
    await instant.commit()
  })

  it('shows both disks at one moment while the guest writes to one after the other', async () => {
    // Number n goes to vdb, is flushed, then to vdc: at any moment vdb holds the number of vdc, or the next one.
    const write = (disk: string): string =>
      `echo $i | dd of=/dev/${disk} bs=512 seek=100000 conv=notrunc,fsync,sync 2>/dev/null`
    await guest.start(`i=0; while [ ! -e /run/stop-writing ]; do i=$((i+1)); ${write('vdb')}; ${write('vdc')}; done`)
    const numbers: string[] = []
    for (let round = 0; round < 12; round += 1) {
      const instant = await openRunningInstant(hostOf(guest), machineOf(guest), { consistency: 'crash' })
      const [b, c] = await Promise.all(
        [instant.disks[1], instant.disks[2]].map(async (disk) => {
          assert.ok(disk?.source.kind === 'nbd')
          const program =
            'import nbd, sys; h = nbd.NBD(); h.connect_uri(sys.argv[1]); print(int(h.pread(512, 512 * 100000).strip(b"\\0\\n ") or b"0"))'
          const uri = `nbd+unix:///${disk.source.exportName}?socket=${disk.source.socketPath}`
          return Number((await checkCommand('/usr/bin/python3', ['-c', program, uri])).stdout.toString())
        }),
      )
      assert.ok(b !== undefined && c !== undefined && (b === c || b === c + 1), `vdb holds ${b}, vdc ${c}`)
      numbers.push(`${b}/${c}`)
      await instant.abort('seen')
    }
    await guest.run('touch /run/stop-writing')
    assert.ok(new Set(numbers).size > 6, `The guest wrote all the time: ${numbers.join(' ')}`)
    console.log('numbers on the two disks:', numbers.join(' '))
  })

  for (const dieAt of ['freeze.frozen', 'pause.inserted', 'thaw']) {
    it(`thaws and continues within seconds when its owner is killed at "${dieAt}"`, async () => {
      const { clock: _clock, random: _random, ...host } = hostOf(guest)
      const tracking = {
        tracker: 'a1b2c3d4',
        next: toHex(systemRandom.bytes(6)),
        committed: {},
        granularityBytes: 65_536,
      }
      const request: OwnerRequest = {
        machine: machineOf(guest),
        host: { ...host, watchdog: 'start' },
        tracking,
        dieAt,
        end: 'commit',
        consistency: 'filesystem',
      }
      const child = spawn(process.execPath, [OWNER, JSON.stringify(request)], {
        stdio: ['ignore', 'ignore', 'inherit'],
      })
      assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL'])
      const diedMs = systemClock.monotonicMs()
      const watchdog = await findWatchdog(systemClock, host.journalFolder)
      assert.ok(watchdog !== undefined)
      await until('the guest is thawed', async () => !(await isFrozen(guest).catch(() => true)), 10_000)
      console.log(`thawed ${(systemClock.monotonicMs() - diedMs).toFixed(0)} ms after death at ${dieAt}`)
      await guest.run('echo again > /data/b/again; sync')
      const { clock, journalFolder } = hostOf(guest)
      await until('nothing is left', async () => {
        await recoverInstants({ clock, journalFolder, isCommitted: () => Promise.resolve(false) })
        return (await readdir(journalFolder)).every((name) => name.startsWith('watchdog'))
      })
      process.kill(watchdog.pid, 'SIGKILL')
      const instant = await openRunningInstant(hostOf(guest), machineOf(guest), { consistency: 'crash' })
      await instant.commit()
    })
  }
})
