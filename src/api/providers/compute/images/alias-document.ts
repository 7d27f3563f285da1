/**
 * The alias document: which words `az vm create --image` knows, and which platform image each stands for. Clients fetch it without a
 * token, so it names what the server offers and nothing else. Source: `az` reads outputs.aliases.value.{system}.{alias}.
 */
import { type Catalog, listResources } from '#catalog'
import { PLATFORM_IMAGE_TYPE, propertiesOf } from '#jobs'
import { fieldAt } from '../../../arm/field-table.ts'

type Alias = Readonly<{ publisher: string; offer: string; sku: string; version: 'latest'; architecture: 'x64' }>

/** Of all regions: the word is the same everywhere; a region that lacks the image says so when it is asked for one. */
export async function aliasDocument(catalog: Catalog): Promise<unknown> {
  const images = await listResources(catalog, { type: PLATFORM_IMAGE_TYPE })
  const value: Record<string, Record<string, Alias>> = { Linux: {}, Windows: {} }
  for (const image of images) {
    if (image.state !== 'Succeeded') continue
    const { alias, storageProfile } = propertiesOf(image)
    const system = value[String(fieldAt(storageProfile, 'osDisk.osType'))]
    const at = (word: string): string => new RegExp(`/${word}/([^/]+)`, 'i').exec(image.id)?.[1] ?? ''
    if (typeof alias !== 'string' || system === undefined) continue
    const [publisher, offer, sku] = ['publishers', 'offers', 'skus'].map(at)
    if (publisher === undefined || offer === undefined || sku === undefined) continue
    system[alias] = { publisher, offer, sku, version: 'latest', architecture: 'x64' }
  }
  return {
    $schema: 'https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#',
    contentVersion: '1.0.0.0',
    parameters: {},
    variables: {},
    resources: [],
    outputs: { aliases: { type: 'object', value } },
  }
}
