// Shows the OpenAPI document. A session token typed in here stays in this tab's
// memory: it is neither kept nor sent anywhere but to this gateway.
"use strict";
window.addEventListener("load", function () {
  window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#docs",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    persistAuthorization: false,
    showExtensions: true,
    validatorUrl: null,
    withCredentials: false
  });
});
