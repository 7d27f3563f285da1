/**
 * Chooses the accelerator by a run, never by the existence of /dev/kvm: under some nested hypervisors the device opens, a
 * machine can be made, and guest code is then interpreted at a microsecond per instruction, so that no kernel ever boots.
 *
 * The probe runs fifty million instructions from a boot sector and leaves through isa-debug-exit. TCG needs 0.1 to 0.5 s,
 * KVM a few hundredths. The answer holds for one boot of the host and one QEMU, and is kept in the runtime folder; a crash
 * in between costs another probe.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { type Clock, errnoOf, messageOf } from '#base'
import { checkCommand, currentBootId, replaceFile, runCommand } from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { Accelerator } from './command-line.ts'

export type AcceleratorChoice = Readonly<{
  accelerator: Accelerator
  /** As `qemu-system-x86_64 --version` says it: "7.2.22". */
  qemuVersion: string
  probeMs: number
  /** Why it is not KVM, in a sentence for the user; undefined when it is. */
  note: string | undefined
}>

/** The code written to isa-debug-exit becomes the exit status (code << 1) | 1. */
const EXIT_CODE = 42
const EXIT_STATUS = (EXIT_CODE << 1) | 1
const KVM_MS_MAX = 3_000
/** TCG on a loaded host; if even this fails, QEMU itself does not work here. */
const TCG_MS_MAX = 20_000

/** mov ecx, 50000000; loop; out 0xf4, 42; hlt: 16-bit code of a boot sector. */
function bootSector(): Buffer {
  const sector = Buffer.alloc(512)
  const code = [0x66, 0xb9, 0x80, 0xf0, 0xfa, 0x02, 0x67, 0xe2, 0xfd, 0xb0, EXIT_CODE, 0xe6, 0xf4, 0xf4]
  sector.set(code)
  sector.set([0x55, 0xaa], 510)
  return sector
}

function probeArguments(accelerator: Accelerator, image: string): string[] {
  const drive = { driver: 'raw', 'node-name': 'boot', file: { driver: 'file', filename: image } }
  return [
    ['-accel', accelerator, '-m', 'size=16M', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ['-blockdev', JSON.stringify(drive)],
    ['-device', JSON.stringify({ driver: 'ide-hd', id: 'disk', drive: 'boot', bus: 'ide.0', bootindex: 0 })],
    ['-device', JSON.stringify({ driver: 'isa-debug-exit', id: 'exit', iobase: 0xf4, iosize: 4 })],
  ].flat()
}

/** undefined when the run came to its end in time; otherwise why not. */
async function failureOfRun(program: string, accelerator: Accelerator, image: string): Promise<string | undefined> {
  const timeoutMs = accelerator === 'kvm' ? KVM_MS_MAX : TCG_MS_MAX
  try {
    const { exitCode, stderr } = await runCommand(program, probeArguments(accelerator, image), { timeoutMs })
    if (exitCode === EXIT_STATUS) return undefined
    const said = stderr.trim().split('\n').at(-1) ?? ''
    return said === '' ? `the probe ended with exit code ${exitCode}` : said.slice(0, 300)
  } catch (error) {
    return messageOf(error)
  }
}

/** Runs the probe. @throws `accelerator_unavailable` when not even TCG executes guest code. */
export async function probeAccelerator(
  program: string,
  qemuVersion: string,
  folder: string,
  clock: Clock,
): Promise<AcceleratorChoice> {
  const work = await mkdtemp(join(folder, 'probe-'))
  const startedMs = clock.monotonicMs()
  const took = (): number => Math.round(clock.monotonicMs() - startedMs)
  try {
    const image = join(work, 'boot.img')
    await writeFile(image, bootSector())
    const kvm = await failureOfRun(program, 'kvm', image)
    if (kvm === undefined) return { accelerator: 'kvm', qemuVersion, probeMs: took(), note: undefined }
    const tcg = await failureOfRun(program, 'tcg', image)
    if (tcg === undefined) {
      const note = `KVM cannot run guests here (${kvm}); machines run by emulation (TCG), many times slower.`
      return { accelerator: 'tcg', qemuVersion, probeMs: took(), note }
    }
    throw new HypervisorError('accelerator_unavailable', `QEMU executes no guest code here: ${tcg}`, {
      facts: { kvm, tcg, qemuVersion },
      hint: 'Reinstall qemu-system-x86, or run on a host that may start processes of its own.',
    })
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** @throws CommandError `command_missing`; HypervisorError `hypervisor_feature_missing` for a QEMU before 7.2. */
export async function qemuVersionOf(program: string): Promise<string> {
  const { stdout } = await checkCommand(program, ['--version'])
  const match = /version (\d+)\.(\d+)\.(\d+)/.exec(stdout.toString('utf8'))
  const [major, minor] = [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)]
  if (match !== null && (major > 7 || (major === 7 && minor >= 2))) return `${match[1]}.${match[2]}.${match[3]}`
  throw new HypervisorError('hypervisor_feature_missing', `${program} is older than QEMU 7.2.`, {
    facts: { said: stdout.toString('utf8').split('\n')[0] ?? '' },
    hint: 'Install QEMU 7.2 or newer.',
  })
}

function isChoice(value: unknown): value is AcceleratorChoice {
  return (
    typeof value === 'object' &&
    value !== null &&
    'accelerator' in value &&
    (value.accelerator === 'kvm' || value.accelerator === 'tcg') &&
    'qemuVersion' in value &&
    typeof value.qemuVersion === 'string'
  )
}

async function cached(path: string): Promise<AcceleratorChoice | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))
    return isChoice(value) ? value : undefined
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined // only a cache: probe again
    throw error
  }
}

/** The accelerator of this host, from the cache in `runtimeFolder` or by a probe. */
export async function chooseAccelerator(
  program: string,
  runtimeFolder: string,
  clock: Clock,
): Promise<AcceleratorChoice> {
  const qemuVersion = await qemuVersionOf(program)
  const key = createHash('sha256').update(`${currentBootId()} ${program} ${qemuVersion}`).digest('hex')
  const path = join(runtimeFolder, `accelerator-${key.slice(0, 16)}.json`)
  const known = await cached(path)
  if (known !== undefined) return known
  await mkdir(runtimeFolder, { recursive: true, mode: 0o711 })
  const choice = await probeAccelerator(program, qemuVersion, runtimeFolder, clock)
  await replaceFile(path, [Buffer.from(JSON.stringify(choice))])
  return choice
}
