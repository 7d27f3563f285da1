/** What a machine's first boot is to find, as a sealed order: the password is hashed before it is written anywhere. */
import type { Random } from '#base'
import { hashPassword, seedFiles } from '#engine/hypervisor'
import type { SealedOrders } from '../../sealed-orders.ts'

export type FirstBoot = Readonly<{
  /** Of the machine. */
  vmId: string
  hostName: string
  admin?: Readonly<{ name: string; password?: string; sshKeys: readonly string[] }>
  userData?: string
}>

/** @param name of the order */
export async function sealSeed(orders: SealedOrders, random: Random, name: string, boot: FirstBoot): Promise<void> {
  const { vmId, hostName, admin, userData } = boot
  const { password } = admin ?? {}
  const files = seedFiles({
    instanceId: vmId,
    hostName,
    ...(admin !== undefined && {
      admin: {
        name: admin.name,
        sshKeys: admin.sshKeys,
        ...(password !== undefined && { passwordHash: hashPassword(password, random) }),
      },
    }),
    ...(userData !== undefined && { userData }),
  })
  await orders.put(name, JSON.stringify(files))
}
