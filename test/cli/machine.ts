/** A QEMU on one image, stopped before its first instruction: it holds the image's locks as any machine does. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after } from 'node:test'
import { systemClock } from '#runtime'

export type TestMachine = Readonly<{ qmp: string; stop: () => Promise<void> }>

const START_MS_MAX = 30_000

export async function startMachine(
  folder: string,
  [image, format]: readonly [path: string, format: string],
  { device = 'virtio-blk,drive=d', args = ['-M', 'pc'] }: Readonly<{ device?: string; args?: readonly string[] }> = {},
): Promise<TestMachine> {
  const qmp = join(folder, `${format}.qmp`)
  const node = { 'node-name': 'd', driver: format, file: { driver: 'file', filename: image } }
  const common = ['-S', '-nodefaults', '-display', 'none', '-m', '64', '-qmp', `unix:${qmp},server=on,wait=off`]
  const disk = ['-blockdev', JSON.stringify(node), '-device', device]
  const child = spawn('qemu-system-x86_64', [...common, ...args, ...disk], { stdio: 'ignore' })
  const gone = once(child, 'exit')
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await gone
  }
  after(stop)
  const endMs = systemClock.monotonicMs() + START_MS_MAX
  while (!(await greets(qmp))) {
    assert.ok(systemClock.monotonicMs() < endMs && child.exitCode === null, 'QEMU starts')
    await systemClock.sleep(25)
  }
  return { qmp, stop }
}

/** Whether a monitor answers; it has opened its images by then. */
function greets(qmp: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(qmp)
    probe.once('data', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
}
