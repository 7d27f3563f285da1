/** The host: programs and their versions, whether QEMU executes guests, who runs them. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, isHoldfastError, messageOf } from '#base'
import { chooseAccelerator, findProcessUser, networkUsers, PROCESS_USER_NAME, whyNoNetworks } from '#engine/hypervisor'
import { runCommand } from '#runtime'
import { failed, type Finding, warning, well } from './finding.ts'

type Program = Readonly<{ name: string; for: string; package: string; args?: readonly string[]; needed: boolean }>

const PACKAGE_OF = { dnsmasq: 'dnsmasq-base', nft: 'nftables', slirp4netns: 'slirp4netns', ip: 'iproute2' } as const
/** Some programs lie where only root's path leads. */
const PATH = `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`

const PROGRAMS: readonly Program[] = [
  { name: 'qemu-system-x86_64', for: 'running machines', package: 'qemu-system-x86', needed: true },
  { name: 'qemu-img', for: 'image files', package: 'qemu-utils', needed: true },
  { name: 'qemu-storage-daemon', for: 'disks of machines that are off', package: 'qemu-system-common', needed: true },
  { name: 'openssl', for: 'certificates', package: 'openssl', args: ['version'], needed: true },
  { name: 'nbdinfo', for: 'looking at exports by hand', package: 'libnbd-bin', needed: false },
  ...(['dnsmasq', 'nft', 'slirp4netns', 'ip'] as const).map((name) => ({
    name,
    for: 'virtual networks',
    package: PACKAGE_OF[name],
    needed: false,
    ...(name === 'ip' && { args: ['-V'] }),
  })),
  { name: 'genisoimage', for: 'cloud-init seeds of new machines', package: 'genisoimage', needed: false },
]

async function checkProgram({ name, for: purpose, package: from, args, needed }: Program): Promise<Finding> {
  const check = `program ${name}`
  const remedy = `Install the package ${from} (apt-get install ${from}).`
  try {
    const { stdout, stderr, exitCode } = await runCommand(name, args ?? ['--version'], {
      timeoutMs: 10_000,
      env: { PATH },
    })
    const said = `${stdout.toString('utf8')}${stderr}`.trim().split('\n', 1)[0] ?? ''
    if (exitCode === 0) return well(check, said)
    return failed(check, `It ends with exit code ${exitCode}: ${said}`, remedy)
  } catch (error) {
    if (!isHoldfastError(error, 'command_missing')) return failed(check, messageOf(error), remedy)
    const says = `It is not installed; it is for ${purpose}.`
    return needed ? failed(check, says, remedy) : warning(check, says, remedy)
  }
}

/** The short run that shows whether KVM works; its answer is kept with the boot of the host. */
async function checkAccelerator(clock: Clock): Promise<Finding> {
  const check = 'accelerator'
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-doctor-'))
  try {
    const { accelerator, qemuVersion, probeMs, note } = await chooseAccelerator('qemu-system-x86_64', folder, clock)
    if (note === undefined) return well(check, `${accelerator}, QEMU ${qemuVersion}, probed in ${probeMs} ms.`)
    return warning(
      check,
      note,
      'Enable virtualisation (BIOS, or nesting of the outer hypervisor) and let this user open /dev/kvm.',
    )
  } catch (error) {
    return failed(check, messageOf(error), 'Reinstall qemu-system-x86.')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function checkUser(): Promise<Finding> {
  const check = 'user'
  if (process.getuid?.() !== 0) return well(check, `This is user ${process.getuid?.() ?? 'unknown'}, not root.`)
  const passwd = await readFile('/etc/passwd', 'utf8')
  if (passwd.split('\n').some((line) => line.startsWith(`${PROCESS_USER_NAME}:`)))
    return well(check, `This is root; guests run as ${PROCESS_USER_NAME}.`)
  return warning(
    check,
    'This is root, and guests would run as root too.',
    `Run the server as a user of its own (docs/configuration.md), or make the user ${PROCESS_USER_NAME}.`,
  )
}

async function checkNetworks(): Promise<Finding> {
  const check = 'virtual networks'
  const why = await whyNoNetworks(networkUsers(await findProcessUser()))
  if (why === undefined) return well(check, 'This host allows the namespaces that they are made of.')
  return warning(check, `This host allows no user and network namespaces: ${why.said}`, why.remedy)
}

export async function hostFindings(clock: Clock): Promise<Finding[]> {
  const programs = await Promise.all(PROGRAMS.map(checkProgram))
  return [...programs, await checkAccelerator(clock), await checkUser(), await checkNetworks()]
}
