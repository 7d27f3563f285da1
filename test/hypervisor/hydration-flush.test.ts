/**
 * A disk whose data has moved in keeps it when QEMU is killed at that moment. Symptom before: a machine that had been booted from a
 * recovery point had zeros where its data was, because QEMU died between writing the header and writing the tables.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { must, MIB } from '#base'
import { hydrate, hydrateOffline } from '#engine/hypervisor'
import { checkCommand, systemClock } from '#runtime'
import { diskNodeName } from '../../src/engine/hypervisor/qemu/device-address.ts'
import { eventually } from '../rig/deadline.ts'
import { sectorData } from '../rig/sector-data.ts'

const BYTES = 32 * MIB

async function overlayIn(folder: string): Promise<Readonly<{ base: string; overlay: string }>> {
  const [base, overlay] = [join(folder, 'base.raw'), join(folder, 'overlay.qcow2')]
  await writeFile(base, sectorData(1, 0, BYTES / 512, 1))
  await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', overlay])
  return { base, overlay }
}

async function assertOwn(base: string, overlay: string): Promise<void> {
  const info = JSON.parse(
    (await checkCommand('qemu-img', ['info', '--output=json', overlay])).stdout.toString(),
  ) as object
  assert.equal('backing-filename' in info, false)
  await checkCommand('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', base, overlay])
}

describe('hydrate()', () => {
  it('leaves a disk that keeps its data when QEMU is killed as soon as it is done', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hf-hyd-'))
    const { base, overlay } = await overlayIn(folder)
    const name = diskNodeName(0)
    const node = { driver: 'qcow2', 'node-name': name, file: { driver: 'file', filename: overlay } }
    const monitor = join(folder, 'm')
    const args = ['-S', '-display', 'none', '-nodefaults', '-m', '32', '-blockdev', JSON.stringify(node)]
    args.push('-device', `virtio-blk-pci,drive=${name}`, '-chardev', `socket,id=m,path=${monitor},server=on,wait=off`)
    const qemu = spawn('qemu-system-x86_64', [...args, '-mon', 'chardev=m,mode=control'], { stdio: 'ignore' })
    try {
      await eventually('the disk is done', 120_000, async () => {
        const states = await hydrate(monitor, [0], { clock: systemClock }).catch(() => undefined)
        return states !== undefined && must(states[0], 'There is a disk').state === 'done' ? true : undefined
      })
    } finally {
      const ended = new Promise((resolve) => qemu.once('close', resolve))
      qemu.kill('SIGKILL')
      await ended
    }
    await assertOwn(base, overlay)
    await rm(folder, { recursive: true })
  })
})

describe('hydrateOffline()', () => {
  it('makes a disk its own that no machine has', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hf-hyd-'))
    const { base, overlay } = await overlayIn(folder)
    const monitorPath = join(folder, 'm')
    const { signal } = new AbortController()
    await hydrateOffline({ path: overlay, monitorPath, clock: systemClock, signal, progress: () => undefined })
    await assertOwn(base, overlay)
    await rm(folder, { recursive: true })
  })
})
