/**
 * The main job on a real machine: protected while it writes, killed, lost, brought back, and every claim checked.
 * Run it by script/demo. Everything of it lies in one temporary folder, which is removed at the end.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { open } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { MIB } from '#base'
import type { MachineStatus, QemuHypervisor } from '#engine/hypervisor'
import { checkCommand, systemClock } from '#runtime'
import { Guest, machineRequest, openHost } from './guest.ts'
import { Program } from './program.ts'
import { expect, type StepResult, Story } from './story.ts'

type Disk = { lun: number; mode: string; reason?: string; readBytes: number; newBytes: number; storedBytes: number }
type Point = { id: string; mode: string; consistency: string; takenAt: string; disks: Disk[]; notes?: string[] }
type Verified = { ok: boolean; checkedBytes: number; damage: { kind: string; object: string; points: string[] }[] }

const DATA_DISK_BYTES = 512 * MIB
const STRIPE = [
  'mdadm --create /dev/md0 --run --level=0 --chunk=64 --raid-devices=2 /dev/vdb /dev/vdc 2>&1',
  'mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 /dev/md0',
  'mkdir -p /mnt && mount -t ext4 /dev/md0 /mnt && mkdir /mnt/records',
].join(' && ')
const ASSEMBLE =
  'mdadm --assemble --run /dev/md0 /dev/vdb /dev/vdc >/dev/null 2>&1; mkdir -p /mnt; mount -t ext4 /dev/md0 /mnt'

const sum = (point: Point, field: 'readBytes' | 'newBytes' | 'storedBytes'): number =>
  point.disks.reduce((total, disk) => total + disk[field], 0)
const cost = (point: Point): Pick<StepResult, 'bytesRead' | 'bytesStored'> => ({
  bytesRead: sum(point, 'readBytes'),
  bytesStored: sum(point, 'storedBytes'),
})
const modes = (point: Point): string =>
  point.disks.map((disk) => `${disk.mode}${disk.reason === undefined ? '' : ` (${disk.reason})`}`).join(', ')

class Demo {
  readonly folder: string
  readonly story = new Story()
  readonly program: Program
  readonly #host: QemuHypervisor
  readonly #microImage: string
  readonly #store: string
  #kept: { sha: string; text: string } = { sha: '', text: '' }
  #last: { point: Point; record: number } | undefined
  #boots: QemuHypervisor[] = []

  constructor(folder: string, host: QemuHypervisor, microImage: string) {
    this.folder = folder
    this.#host = host
    this.#microImage = microImage
    this.#store = join(folder, 'store')
    this.program = new Program({
      HOLDFAST_PASSPHRASE: 'the demo has no secrets',
      XDG_CACHE_HOME: join(folder, 'cache'),
      XDG_STATE_HOME: join(folder, 'state'),
    })
  }

  async run(): Promise<void> {
    const { story } = this
    await story.step('Start a machine: OS disk, striped data disks, a writer of fsynced records', () =>
      this.#startMachine(),
    )
    await story.step('Make a repository', () => this.#initRepository())
    await story.step('Application-consistent full backup while it writes', () => this.#full())
    for (const which of ['First', 'Second'])
      await story.step(`${which} incremental while it writes`, () => this.#incremental())
    await story.step('Kill QEMU, start it again, back up: only differences are stored', () => this.#afterCrash())
    await story.step('Kill Holdfast in the middle of a backup; the guest runs on, the next backup is whole', () =>
      this.#killHoldfast(),
    )
    await story.step('Power cut: the machine and all its disks are gone', () => this.#destroyAll())
    await story.step('Boot from the last point at once; every record older than the instant is whole', () =>
      this.#bootLast(),
    )
    await story.step('Bring a single file back', () => this.#singleFile())
    await story.step('Verify the store without the key', () => this.#verifyWithoutKey())
    await story.step('Lose every cache; restore the machine by the command line alone and start it', () =>
      this.#restoreAll(),
    )
    await story.step('Bit rot in the store: verify names exactly the damaged pack and its points', () => this.#bitRot())
  }

  /** Ends every machine of the demo and removes its folder. */
  async cleanUp(): Promise<void> {
    this.program.killAll()
    for (const host of [this.#host, ...this.#boots]) {
      for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
    }
    await rm(this.folder, { recursive: true, force: true })
  }

  async #startMachine(): Promise<StepResult> {
    await this.#host.create(machineRequest('web1', this.#microImage, DATA_DISK_BYTES))
    const { accelerator } = await this.#host.start('web1')
    const guest = await this.#guest()
    await guest.ready()
    await guest.run(STRIPE)
    await guest.start('write-records /mnt/records 32 64')
    await this.#records(guest, 10)
    return { result: `runs under ${accelerator ?? 'an unknown accelerator'}` }
  }

  async #initRepository(): Promise<StepResult> {
    const made = await this.program.json<{ id?: string }>(['repo', 'init', this.#store])
    return { result: `repository ${(made.id ?? '').slice(0, 8)}` }
  }

  async #full(): Promise<StepResult> {
    const point = await this.#backUp()
    expect(
      point.mode === 'full' && point.consistency === 'application',
      `the first point is an application-consistent full, not ${point.mode}, ${point.consistency}`,
    )
    return { ...cost(point), result: modes(point) }
  }

  async #incremental(): Promise<StepResult> {
    const guest = await this.#guest()
    await guest.run('dd if=/dev/urandom of=/mnt/changed bs=1M count=4 conv=fsync 2>/dev/null')
    await this.#records(guest, (await guest.newestRecord()) + 5)
    const point = await this.#backUp()
    expect(
      point.disks.every(({ mode }) => mode === 'incremental'),
      `all disks are incremental: ${modes(point)}`,
    )
    expect(sum(point, 'readBytes') < 64 * MIB, 'an incremental reads what changed')
    return { ...cost(point), result: modes(point) }
  }

  async #afterCrash(): Promise<StepResult> {
    const { processId } = await this.#host.describe('web1')
    expect(processId !== undefined, 'the machine runs')
    process.kill(processId, 'SIGKILL')
    await this.#until('QEMU to be gone', async () => (await this.#host.describe('web1')).power !== 'running')
    await this.#host.start('web1')
    const guest = await this.#guest()
    await guest.ready()
    await guest.run(ASSEMBLE)
    await guest.start('write-records /mnt/records 32 64')
    await this.#records(guest, 5)
    const point = await this.#backUp()
    expect(
      point.disks.some(({ mode, reason }) => mode === 'scan' && reason !== undefined),
      `the point says why it scanned: ${modes(point)}`,
    )
    expect(sum(point, 'newBytes') < 64 * MIB, `only differences are stored, not ${sum(point, 'newBytes')} bytes`)
    return { ...cost(point), result: modes(point) }
  }

  async #killHoldfast(): Promise<StepResult> {
    const guest = await this.#guest()
    await guest.run('dd if=/dev/urandom of=/mnt/bulk bs=1M count=48 conv=fsync 2>/dev/null')
    const running = this.program.start(await this.#backupArguments())
    await this.#until('the backup to be in the middle of it', async () => await this.#isInstantOpen())
    running.child.kill('SIGKILL')
    await running.ended
    const before = await guest.newestRecord()
    await this.#until('the guest to write on', async () => (await guest.newestRecord()) > before + 3)
    await this.#keepFile(guest)
    const point = await this.#backUp()
    await this.#until('the block graph to be what it was', async () => !(await this.#isInstantOpen()))
    return { ...cost(point), result: `the guest wrote on; ${modes(point)}` }
  }

  async #destroyAll(): Promise<StepResult> {
    const { processId } = await this.#host.describe('web1')
    if (processId !== undefined) process.kill(processId, 'SIGKILL')
    await this.#until('QEMU to be gone', async () => (await this.#host.describe('web1')).power !== 'running')
    await this.#host.delete('web1', { disks: 'delete' })
    return { result: 'nothing is left but the store' }
  }

  async #bootLast(): Promise<StepResult> {
    const to = join(this.folder, 'back')
    const runtime = join(this.folder, 'r1')
    const startMs = systemClock.monotonicMs()
    const boot = this.program.start([
      'repo',
      'boot',
      this.#store,
      'latest',
      '--to',
      to,
      '--name',
      'web1-back',
      '--runtime-dir',
      runtime,
    ])
    const started = JSON.parse(await boot.firstLine) as { sockets: NonNullable<MachineStatus['sockets']> }
    this.#boots.push(await openHost(to, runtime))
    const guest = new Guest(started.sockets.agent ?? '')
    await guest.ready()
    const readyMs = Math.round(systemClock.monotonicMs() - startMs)
    await guest.run(ASSEMBLE)
    const last = this.#last
    expect(last !== undefined, 'there is a last point')
    const checked = await guest.exec(`check-records /mnt/records ${last.record}`)
    const words = checked.stdout.toString('utf8').trim()
    expect(checked.exitCode === 0, `every record older than the instant is intact: ${words}`)
    await guest.run('echo written before the data was there > /mnt/mine && sync')
    const { exitCode, stderr } = await boot.ended
    expect(exitCode === 0, `the data moves in: ${stderr}`)
    expect(
      (
        await guest.run('echo 3 > /proc/sys/vm/drop_caches; cat /mnt/mine; sha256sum /mnt/keep/file | cut -c1-64')
      ).endsWith(this.#kept.sha),
      'the disks are whole with nobody serving',
    )
    return { result: `guest ready ${readyMs} ms after the order; ${words}` }
  }

  async #singleFile(): Promise<StepResult> {
    const to = join(this.folder, 'files')
    await this.program.json([
      'repo',
      'files',
      this.#store,
      'latest',
      '--disk',
      '0',
      '--partition',
      '2',
      'get',
      '/root/note.txt',
      '--to',
      to,
    ])
    const text = await readFile(join(to, 'note.txt'), 'utf8')
    expect(text === this.#kept.text, `the file reads as it was written, not ${JSON.stringify(text.slice(0, 60))}`)
    return { result: '/root/note.txt, byte for byte' }
  }

  async #verifyWithoutKey(): Promise<StepResult> {
    const { ok, checkedBytes } = await this.program.json<Verified>(['repo', 'verify', this.#store, '--without-key'])
    expect(ok, 'the store is whole')
    return { bytesRead: checkedBytes, result: 'no damage' }
  }

  async #restoreAll(): Promise<StepResult> {
    for (const lost of ['cache', 'state', 'back']) await this.#remove(lost)
    const to = join(this.folder, 'restored')
    await this.program.json(['repo', 'restore', this.#store, 'latest', '--to', to, '--format', 'qcow2'])
    const host = await openHost(join(this.folder, 'host2'), join(this.folder, 'r2'))
    this.#boots.push(host)
    const image = (lun: number) => ({ from: 'image', path: join(to, `disk-${lun}.qcow2`), format: 'qcow2' }) as const
    const request = machineRequest('web1', this.#microImage, DATA_DISK_BYTES)
    await host.create({ ...request, disks: request.disks.map((disk) => ({ ...disk, source: image(disk.lun) })) })
    const { sockets } = await host.start('web1')
    const guest = new Guest(sockets?.agent ?? '')
    await guest.ready()
    await guest.run(ASSEMBLE)
    const words = await guest.run(`check-records /mnt/records ${this.#last?.record ?? 0}`)
    return { result: words }
  }

  async #bitRot(): Promise<StepResult> {
    const before = await this.program.json<Point[]>(['repo', 'list', this.#store])
    const victim = (await checkCommand('sh', ['-c', `ls -S ${this.#store}/packs/*/* | head -n 1`])).stdout
      .toString('utf8')
      .trim()
    const file = await open(victim, 'r+')
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, 200_000)
    await file.write(Buffer.from([(byte[0] ?? 0) ^ 1]), 0, 1, 200_000)
    await file.close()
    const withKey = await this.program.json<Verified>(['repo', 'verify', this.#store], [1])
    const without = await this.program.json<Verified>(['repo', 'verify', this.#store, '--without-key'], [1])
    for (const { damage } of [withKey, without]) {
      expect(damage.length === 1 && damage[0]?.kind === 'pack_corrupt', `one damaged pack: ${JSON.stringify(damage)}`)
      expect(victim.endsWith(damage[0].object), `it is ${victim}, not ${damage[0].object}`)
    }
    const touched = withKey.damage[0]?.points.length ?? 0
    return {
      bytesRead: withKey.checkedBytes,
      result: `one bit, one pack, ${touched} of ${before.length} points touched`,
    }
  }

  async #guest(): Promise<Guest> {
    return new Guest((await this.#host.describe('web1')).sockets?.agent ?? '')
  }

  async #backupArguments(): Promise<string[]> {
    const { sockets } = await this.#host.describe('web1')
    expect(sockets !== undefined, 'the machine runs')
    const { instant, agent = '' } = sockets
    return [
      'repo',
      'backup',
      this.#store,
      '--machine',
      'web1',
      '--qmp',
      instant,
      '--qga',
      agent,
      '--consistency',
      'app',
    ]
  }

  /** Backs up, and remembers the point together with the newest record that was durable before it. */
  async #backUp(): Promise<Point> {
    const record = await (await this.#guest()).newestRecord()
    const point = await this.program.json<Point>(await this.#backupArguments())
    this.#last = { point, record }
    return point
  }

  async #keepFile(guest: Guest): Promise<void> {
    await guest.run('mkdir -p /mnt/keep; dd if=/dev/urandom of=/mnt/keep/file bs=64k count=20 conv=fsync 2>/dev/null')
    const text = `Kept at ${new Date().toISOString()} by the demo.\n`
    await guest.run(`printf '%s' '${text}' > /root/note.txt; sync`)
    this.#kept = { sha: (await guest.run('sha256sum /mnt/keep/file')).slice(0, 64), text }
    expect(createHash('sha256').update('').digest('hex') !== this.#kept.sha, 'the file to keep is not empty')
  }

  async #isInstantOpen(): Promise<boolean> {
    const { sockets } = await this.#host.describe('web1')
    const { QmpClient } = await import('#engine/hypervisor')
    const qmp = await QmpClient.connect(sockets?.control ?? '', { clock: systemClock })
    try {
      const nodes = JSON.stringify(await qmp.execute('query-named-block-nodes', { flat: true }))
      return nodes.includes('"node-name":"hf-')
    } finally {
      await qmp.close()
    }
  }

  async #remove(name: string): Promise<void> {
    for (const host of this.#boots.splice(0)) {
      for (const { machine } of (await host.discover()).machines) await host.powerOff(machine.name)
    }
    await rm(join(this.folder, name), { recursive: true, force: true })
  }

  #records(guest: Guest, number: number): Promise<void> {
    return this.#until(`record ${number}`, async () => (await guest.newestRecord()) >= number)
  }

  async #until(what: string, probe: () => Promise<boolean>): Promise<void> {
    const endMs = systemClock.monotonicMs() + 60_000
    while (!(await probe())) {
      if (systemClock.monotonicMs() > endMs) throw new Error(`Waited a minute in vain for ${what}.`)
      await systemClock.sleep(30)
    }
  }
}

const root = resolve(import.meta.dirname, '..')
const microImage = (await checkCommand(join(root, 'guest/build-micro'), [], { timeoutMs: 300_000 })).stdout
  .toString('utf8')
  .trim()
const folder = await mkdtemp(join(tmpdir(), 'hf-demo-'))
const demo = new Demo(folder, await openHost(join(folder, 'host'), join(folder, 'r0')), microImage)
const resultFile = join(tmpdir(), `holdfast-demo-${process.pid}.json`)
try {
  await demo.run()
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
} finally {
  await demo.cleanUp()
  const ok = demo.story.rows.every((row) => row.ok) && process.exitCode !== 1
  await writeFile(resultFile, `${JSON.stringify({ schema: 1, ok, steps: demo.story.rows }, null, 2)}\n`)
  process.stdout.write(
    `\n${demo.story.table()}\n\n${ok ? 'Every check held.' : 'A check failed.'} The same as JSON:\n${resultFile}\n`,
  )
}
