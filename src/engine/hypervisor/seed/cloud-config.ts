/**
 * What stands in a machine's seed, from what its maker asked for: pure. The files are JSON, which is YAML too, so that no value
 * can begin a line of its own.
 *
 * The administrator and the host's name come as vendor data, and the maker's own data (Azure's customData) as user data, which
 * cloud-init lets win where both say something.
 */
import type { SeedFiles } from './seed-image.ts'

export type SeedWish = Readonly<{
  /** Of the machine: cloud-init does its first-boot work once for each. */
  instanceId: string
  hostName: string
  admin?: Readonly<{
    name: string
    /** As crypt(3) makes it (sha512-crypt.ts). Without one the user logs in by key only. */
    passwordHash?: string
    sshKeys: readonly string[]
  }>
  /** As it is: a cloud-config, a script, or anything else that cloud-init takes. */
  userData?: string
}>

const HEAD = '#cloud-config\n'

function vendorData({ admin, hostName }: SeedWish): string {
  const common = { hostname: hostName, preserve_hostname: false, manage_etc_hosts: 'localhost' }
  if (admin === undefined) return `${HEAD}${JSON.stringify(common)}\n`
  const { name, passwordHash, sshKeys } = admin
  const user = {
    name,
    gecos: name,
    groups: ['adm', 'sudo'],
    sudo: 'ALL=(ALL) NOPASSWD:ALL',
    shell: '/bin/bash',
    lock_passwd: passwordHash === undefined,
    ...(passwordHash !== undefined && { passwd: passwordHash }),
    ssh_authorized_keys: sshKeys,
  }
  return `${HEAD}${JSON.stringify({ ...common, users: [user], ssh_pwauth: passwordHash !== undefined })}\n`
}

export function seedFiles(wish: SeedWish): SeedFiles {
  const metaData = { 'instance-id': wish.instanceId, 'local-hostname': wish.hostName }
  return {
    'meta-data': `${JSON.stringify(metaData)}\n`,
    'vendor-data': vendorData(wish),
    'user-data': wish.userData ?? `${HEAD}{}\n`,
  }
}
