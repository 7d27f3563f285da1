/**
 * `guest/deprovision` on trees shaped like guests of the Debian and of the RHEL family, in a chroot with busybox for its tools: what makes a
 * machine itself goes, and nothing else does. Real guests: micro-seed.test.ts, debian-guest.test.ts, test/api/machine-images.test.ts.
 */
import assert from 'node:assert/strict'
import { copyFile, mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'
import { checkCommand, runCommand } from '#runtime'

const SCRIPT = resolve(import.meta.dirname, '../../guest/deprovision')
const BUSYBOX = '/bin/busybox'
const TOOLS = 'sh id sed rm ln cat find sync ssh-keygen'.split(' ')

/** Name and content; those of `own` must go, those of `kept` must stay as they are. */
type Family = Readonly<{
  own: Readonly<Record<string, string>>
  kept: Readonly<Record<string, string>>
  /** Stay, as they are afterwards. */
  changed: Readonly<Record<string, readonly [before: string, after: string]>>
}>

const ACCOUNTS = {
  '/etc/passwd': [
    'root:x:0:0::/root:/bin/sh\nadmin:x:1000:1000::/home/admin:/bin/sh\nadmin2:x:1001:1001::/home/admin2:/bin/sh\n',
    'root:x:0:0::/root:/bin/sh\nadmin2:x:1001:1001::/home/admin2:/bin/sh\n',
  ],
  '/etc/shadow': ['root:*:1::\nadmin:$6$x:1::\nadmin2:*:1::\n', 'root:*:1::\nadmin2:*:1::\n'],
  '/etc/group': ['root:x:0:\nadmin:x:1000:\n', 'root:x:0:\n'],
  '/etc/machine-id': ['0123456789abcdef0123456789abcdef\n', ''],
  '/etc/hostname': ['web1\n', 'localhost\n'],
} as const

const EVERYWHERE: Family = {
  own: {
    '/etc/ssh/ssh_host_ed25519_key': 'key',
    '/etc/ssh/ssh_host_ed25519_key.pub': 'key',
    '/etc/ssh/ssh_host_rsa_key': 'key',
    '/etc/sudoers.d/90-cloud-init-users': 'admin ALL=(ALL) NOPASSWD:ALL',
    '/etc/sudoers.d/admin': 'admin ALL=(ALL) ALL',
    '/etc/udev/rules.d/70-persistent-net.rules': 'rule',
    '/home/admin/.ssh/authorized_keys': 'key',
    '/root/.bash_history': 'secret',
    '/root/.ssh/authorized_keys': 'key',
    '/root/.ssh/id_ed25519': 'key',
    '/tmp/left': 'x',
    '/var/lib/cloud/instances/i-1/user-data.txt': 'secret',
    '/var/lib/cloud/sem/config_scripts_per_once.once': '',
    '/var/lib/systemd/random-seed': 'seed',
    '/var/log/journal/0123/system.journal': 'said',
    '/var/log/syslog.1': 'said',
    '/var/tmp/left': 'x',
  },
  kept: {
    '/etc/ssh/sshd_config': 'PermitRootLogin no\n',
    '/etc/ssh/moduli': 'numbers',
    '/etc/sudoers.d/README': 'read me',
    '/home/admin2/work': 'kept',
    '/srv/site/index.html': 'site',
  },
  changed: { ...ACCOUNTS, '/var/log/messages': ['said', ''], '/var/log/app/app.log': ['said', ''] },
}

const DEBIAN: Family = {
  own: {
    '/etc/netplan/50-cloud-init.yaml': 'macaddress: 52:54:00:00:00:01',
    '/etc/network/interfaces.d/50-cloud-init': 'auto eth0',
    '/var/lib/dhcp/dhclient.eth0.leases': 'lease',
    '/run/systemd/netif/leases/2': 'lease',
  },
  kept: { '/etc/network/interfaces': 'source interfaces.d/*\n', '/etc/debian_version': '12.5\n' },
  changed: {},
}

const RHEL: Family = {
  own: {
    '/var/lib/NetworkManager/internal-1-eth0.lease': 'lease',
    '/var/lib/NetworkManager/secret_key': 'key',
    '/var/lib/dhclient/dhclient--eth0.lease': 'lease',
    '/var/log/audit/audit.log': 'said',
    '/var/log/messages-20261130': 'said',
  },
  kept: {
    '/etc/redhat-release': 'Rocky Linux release 9\n',
    '/usr/lib/systemd/system/sshd-keygen@.service': '[Unit]\n',
    '/var/lib/NetworkManager/NetworkManager.state': '[main]\n',
  },
  changed: {
    '/etc/sysconfig/network-scripts/ifcfg-eth0': [
      'DEVICE=eth0\nHWADDR=52:54:00:00:00:01\nUUID=6b\nBOOTPROTO=dhcp\n',
      'DEVICE=eth0\nBOOTPROTO=dhcp\n',
    ],
    '/etc/NetworkManager/system-connections/eth0.nmconnection': [
      '[connection]\nid=eth0\nuuid=6b\n[ethernet]\nmac-address=52:54:00:00:00:01\n',
      '[connection]\nid=eth0\n[ethernet]\n',
    ],
  },
}

async function put(root: string, path: string, content: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), content)
}

async function makeTree(families: readonly Family[]): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'hf-tree-'))
  for (const { own, kept, changed } of families) {
    for (const [path, content] of [...Object.entries(own), ...Object.entries(kept)]) await put(root, path, content)
    for (const [path, [before]] of Object.entries(changed)) await put(root, path, before)
  }
  for (const folder of ['bin', 'usr/bin', 'dev', 'var/lib/dbus', 'etc/systemd/system/multi-user.target.wants'])
    await mkdir(join(root, folder), { recursive: true })
  await put(root, '/dev/null', '')
  await put(root, '/var/lib/dbus/machine-id', '0123456789abcdef0123456789abcdef\n')
  await copyFile(BUSYBOX, join(root, 'bin/busybox'))
  for (const tool of TOOLS) await symlink('busybox', join(root, 'bin', tool))
  await copyFile(SCRIPT, join(root, 'usr/bin/deprovision'))
  return root
}

/** Every regular file, with what it holds. */
async function filesOf(root: string): Promise<Map<string, string>> {
  const found = new Map<string, string>()
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    found.set(path.slice(root.length), await readFile(path, 'latin1'))
  }
  return found
}

for (const [name, family] of [
  ['Debian', DEBIAN],
  ['RHEL', RHEL],
] as const)
  test(`deprovision takes what makes a machine of the ${name} family itself, and nothing else; twice is once`, async (t) => {
    if (process.getuid?.() !== 0) return t.skip('only root may change its root')
    if ((await runCommand(BUSYBOX, ['true'])).exitCode !== 0) return t.skip('busybox-static is not there')
    const families = [EVERYWHERE, family]
    const root = await makeTree(families)
    t.after(() => rm(root, { recursive: true }))
    for (const run of ['first', 'second']) {
      const { stdout } = await checkCommand('chroot', [root, '/usr/bin/deprovision', '--user', 'admin', '--yes'])
      assert.match(stdout.toString('utf8'), /^Deprovisioned\./)
      const left = await filesOf(root)
      for (const { own, kept, changed } of families) {
        for (const path of Object.keys(own)) assert.ok(!left.has(path), `${run}: ${path} is to go`)
        for (const [path, content] of Object.entries(kept)) assert.equal(left.get(path), content, `${run}: ${path}`)
        for (const [path, [, after]] of Object.entries(changed)) assert.equal(left.get(path), after, `${run}: ${path}`)
      }
      assert.equal(await readlink(join(root, 'var/lib/dbus/machine-id')), '/etc/machine-id')
      // The RHEL family makes host keys by itself; Debian's sshd does not.
      const unit = left.has('/etc/systemd/system/make-host-keys.service')
      assert.equal(unit, name === 'Debian', `${run}: who makes host keys`)
    }
    return undefined
  })

test('deprovision asks first, and refuses what it cannot mean', async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root may change its root')
  if ((await runCommand(BUSYBOX, ['true'])).exitCode !== 0) return t.skip('busybox-static is not there')
  const root = await makeTree([EVERYWHERE])
  t.after(() => rm(root, { recursive: true }))
  const before = await filesOf(root)
  for (const [args, exitCode] of [
    [[], 1],
    [['--user', 'root', '--yes'], 64],
    [['--all'], 64],
  ] as const) {
    const ran = await runCommand('chroot', [root, '/usr/bin/deprovision', ...args])
    assert.equal(ran.exitCode, exitCode, args.join(' '))
    assert.deepEqual(await filesOf(root), before, `${args.join(' ')} changes nothing`)
  }
  return undefined
})
