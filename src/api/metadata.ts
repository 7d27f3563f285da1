/**
 * What the clients ask before they log in: `GET /metadata/endpoints`. Everything points back at this server, at the address
 * that the client used. Shapes by api-version: one object since 2022-09-01, an array of them in 2019-05-01 to 2021, a short
 * form before. Source: what `az cloud register` of 2.45 and 2.74 reads.
 */
import { isBefore } from '#contract'

export function cloudMetadata(baseUrl: string, host: string, apiVersion: string): unknown {
  if (isBefore(apiVersion, '2018-05-01')) return shortForm(baseUrl)
  const whole = wholeForm(baseUrl, host)
  return isBefore(apiVersion, '2022-09-01') ? [whole] : whole
}

function shortForm(baseUrl: string): unknown {
  return {
    galleryEndpoint: `${baseUrl}/`,
    graphEndpoint: `${baseUrl}/graph`,
    portalEndpoint: `${baseUrl}/`,
    authentication: { loginEndpoint: `${baseUrl}/adfs`, audiences: [`${baseUrl}/`] },
  }
}

function wholeForm(baseUrl: string, host: string): Readonly<Record<string, unknown>> {
  return {
    name: 'Holdfast',
    resourceManager: `${baseUrl}/`,
    portal: baseUrl,
    gallery: baseUrl,
    graph: `${baseUrl}/graph`,
    graphAudience: `${baseUrl}/graph`,
    media: baseUrl,
    batch: baseUrl,
    sqlManagement: baseUrl,
    vmImageAliasDoc: `${baseUrl}/aliases.json`,
    activeDirectoryDataLake: baseUrl,
    microsoftGraphResourceId: `${baseUrl}/graph/`,
    ossrdbmsResourceId: baseUrl,
    logAnalyticsResourceId: baseUrl,
    appInsightsResourceId: baseUrl,
    appInsightsTelemetryChannelResourceId: baseUrl,
    synapseAnalyticsResourceId: baseUrl,
    attestationResourceId: baseUrl,
    authentication: {
      loginEndpoint: `${baseUrl}/adfs`,
      audiences: [`${baseUrl}/`, 'https://management.azure.com/'],
      tenant: 'adfs',
      identityProvider: 'ADFS',
    },
    suffixes: {
      storage: host,
      keyVaultDns: `vault.${host}`,
      sqlServerHostname: `sql.${host}`,
      acrLoginServer: `registry.${host}`,
      mysqlServerEndpoint: `mysql.${host}`,
      postgresqlServerEndpoint: `postgres.${host}`,
      mariadbServerEndpoint: `mariadb.${host}`,
      azureDataLakeStoreFileSystem: `datalake.${host}`,
      azureDataLakeAnalyticsCatalogAndJob: `analytics.${host}`,
      synapseAnalytics: `synapse.${host}`,
      storageSyncEndpointSuffix: `sync.${host}`,
      attestationEndpoint: `attestation.${host}`,
      mhsmDns: `hsm.${host}`,
    },
  }
}
