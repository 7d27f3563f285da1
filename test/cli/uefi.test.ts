/**
 * A UEFI machine that only its own variables can boot: backed up while it runs, booted again from the point, and by nothing
 * but the variables that the point holds.
 */
import assert from 'node:assert/strict'
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { must } from '#base'
import { guestExec, withAgent } from '#engine/hypervisor'
import { systemClock } from '#runtime'
import { eventually } from '../rig/deadline.ts'
import type { RunningGuest } from '../rig/guest-process.ts'
import { makeOverlay, startMicroGuest } from '../rig/micro-guest.ts'
import { microImage } from '../rig/micro-image.ts'
import { ended, type PointJson, runJson, start } from './command-line.ts'

const CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd'
const TEMPLATE = '/usr/share/OVMF/OVMF_VARS_4M.fd'
const BOOT_MS_MAX = 300_000

type Booted = Readonly<{ processId: number; sockets: Readonly<{ agent?: string }> }>

async function bootFrom(folder: string, disk: string, vars: string, waits: boolean): Promise<RunningGuest> {
  const flash = (file: string, readOnly: string): string => `if=pflash,format=raw,readonly=${readOnly},file=${file}`
  const guest = await startMicroGuest({
    osDisk: { path: join(folder, disk), format: 'qcow2' },
    memoryMib: 256,
    waits: false, // Firmware, its shell and the kernel take longer than the rig waits for others.
    extraArguments: ['-drive', flash(CODE, 'on'), '-drive', flash(join(folder, vars), 'off')],
  })
  if (waits) await guest.waitReady(BOOT_MS_MAX)
  return guest
}

async function runIn(agent: string, command: string): Promise<string> {
  const options = { clock: systemClock, readyTimeoutMs: BOOT_MS_MAX }
  const { stdout, stderr, exitCode } = await withAgent(agent, options, (client) =>
    guestExec(client, systemClock, { path: '/bin/sh', args: ['-c', command], timeoutMs: 60_000 }),
  )
  assert.equal(exitCode, 0, stderr.toString('utf8'))
  return stdout.toString('utf8').trim()
}

/** The document that the command prints when the machine runs; it goes on. */
function result(child: ReturnType<typeof start>): Promise<string> {
  let said = ''
  child.stdout?.on('data', (data: Buffer) => (said += data.toString()))
  return eventually('the machine to be started', BOOT_MS_MAX, () => {
    assert.equal(child.exitCode, null, 'the command goes on')
    return /^\{\n[^]*?\n\}\n/.exec(said)?.[0]
  })
}

test('A UEFI machine boots from a point by the variables that the point holds, and not without them', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hf-uefi-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  await makeOverlay(join(folder, 'os.qcow2'), await microImage('uefi'), 'raw')
  await copyFile(TEMPLATE, join(folder, 'vars.fd'))
  await runJson(folder, ['repo', 'init', 'store'])

  await t.test('backed up while it runs, once its firmware knows how to boot it', async () => {
    await using guest = await bootFrom(folder, 'os.qcow2', 'vars.fd', true)
    await guest.run('add-boot-words')
    await guest.run('echo kept > /root/note; sync')
    const { qmp, agent } = guest.paths
    const args = ['repo', 'backup', 'store', '-m', 'uefi', '--qmp', qmp, '--qga', agent]
    const point = await runJson<PointJson>(folder, args)
    assert.equal(point.disks.length, 1)
  })

  await t.test('restored, the variables are those that it had', async () => {
    await runJson(folder, ['repo', 'restore', 'store', 'latest', '--to', 'restored', '--format', 'qcow2'])
    const restored = await readFile(join(folder, 'restored', 'uefi-vars'))
    assert.ok(restored.includes(Buffer.from('\\EFI\\holdfast\\vmlinuz.efi', 'utf16le')), 'the boot entry is among them')
    assert.ok(restored.includes(Buffer.from('initrd=\\EFI\\holdfast\\initrd.img', 'utf16le')), 'so are its words')
  })

  await t.test('its firmware finds nothing to boot with new variables', async () => {
    await copyFile(TEMPLATE, join(folder, 'new.fd'))
    await using guest = await bootFrom(folder, 'restored/disk-0.qcow2', 'new.fd', false)
    await eventually('the firmware’s shell', BOOT_MS_MAX, async () => {
      const serial = await readFile(guest.paths.serial, 'latin1').catch(() => '')
      assert.ok(!serial.includes('MICRO-READY'), 'it does not boot')
      return serial.includes('Shell>') ? true : undefined
    })
  })

  await t.test('it boots from the point, by its own entry', async () => {
    const to = join(folder, 'back')
    const args = ['repo', 'boot', 'store', 'latest', '--to', to, '--runtime-dir', join(folder, 'r'), '--output', 'json']
    const child = start(folder, args)
    const over = ended(child)
    const { processId, sockets } = JSON.parse(await result(child)) as Booted
    try {
      const agent = must(sockets.agent, 'The machine has an agent')
      assert.equal(await runIn(agent, 'cat /root/note'), 'kept')
      // The kernel's words stand in the boot entry and nowhere else.
      assert.match(await runIn(agent, 'cat /proc/cmdline'), /initrd=\\EFI\\holdfast\\initrd\.img/)
      assert.equal((await over).code, 0, 'all data moves in')
    } finally {
      process.kill(processId, 'SIGKILL')
      child.kill('SIGKILL')
      await over
    }
  })
})
