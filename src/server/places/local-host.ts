/** The host that every region has from its beginning: this one. */
import type { Host } from '#catalog'

export const LOCAL_HOST = 'local'

export function localHost(region: string, createdMs: number): Host {
  return { region, name: LOCAL_HOST, driver: 'qemu', address: LOCAL_HOST, limits: {}, createdMs }
}
