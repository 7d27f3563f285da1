/** Where and how the API listens, as the configuration says. */
import type { Config } from '../config/schema.ts'
import type { FaceOptions } from './open-face.ts'

/** @param over what the command line says instead */
export function faceOptionsOf(
  { listen, tls, limits }: Config,
  over: Readonly<{ address?: string | undefined; port?: number | undefined }> = {},
): FaceOptions {
  const { certificate, key, ca } = tls
  return {
    address: over.address ?? listen.address,
    port: over.port ?? listen.port,
    names: listen.names,
    ...(certificate !== null &&
      key !== null &&
      ca !== null && { ownCertificate: { certificatePath: certificate, keyPath: key, caPath: ca } }),
    ...(limits.requestsPerSecond > 0 && { rate: { perSecond: limits.requestsPerSecond, burst: limits.requestsBurst } }),
  }
}
